"""The local model's server, a child process of this one."""

import asyncio
import sys
from importlib import util
from pathlib import Path
from signal import SIGILL
from subprocess import PIPE
from typing import BinaryIO

from chat_api.dev.errors import ModelError
from chat_api.dev.model import llama_server
from chat_api.dev.model.file import OTHERWISE

_READY_SECONDS = 60
_STOP_SECONDS = 1
_LOG_BYTES = 4_000_000


class ModelServer:
    """llama.cpp's OpenAI-compatible server for the model `gguf`, on a free loopback port.

    Its output goes to `log`. It ends when this process ends, in whatever way. If it is started again, it
    keeps its address.
    """

    def __init__(self, gguf: Path, log: Path) -> None:
        self._gguf = gguf
        self._log = log
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it isn't running."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def start(self) -> str:
        """Start it. Returns its base URL, `http://127.0.0.1:PORT/v1`, once it is ready, after about a second.

        Raises ModelError with the server's own reason.
        """
        if util.find_spec("xllamacpp") is None:
            raise ModelError(
                f"The model server is missing: pip install 'samosachaat-chat-api[dev-stack]', or {OTHERWISE}"
            )
        with self._open_log() as log:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", llama_server.__file__, str(self._gguf), str(self._port),
                stdin=PIPE, stdout=PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        assert process.stdout is not None  # noqa: S101 - for the type checker
        try:
            async with asyncio.timeout(_READY_SECONDS):
                url = (await process.stdout.readline()).decode().strip()
                if not url:
                    await process.wait()
        except TimeoutError:
            await self.stop()
            raise ModelError(
                f"The model server isn't ready after {_READY_SECONDS} s: see {self._log}"
            ) from None
        except BaseException:
            await self.stop()
            raise
        if not url:
            raise ModelError(self._why_not(process.returncode))
        self._port = int(url.rpartition(":")[2].removesuffix("/v1"))
        return url

    async def wait(self) -> None:
        """Wait until it has ended, for whatever reason."""
        if self._process is not None:
            await self._process.wait()

    async def stop(self) -> None:
        """Stop it. Does nothing if it isn't running."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def _open_log(self) -> BinaryIO:
        long = self._log.exists() and self._log.stat().st_size > _LOG_BYTES
        return self._log.open("wb" if long else "ab")

    def _why_not(self, status: int | None) -> str:
        if status == -SIGILL:
            return f"This machine's processor can't run the bundled model server: {OTHERWISE}"
        words = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        reason = words[-1] if words else f"the model server ended with status {status}"
        return f"The local model can't run: {reason} (more in {self._log}). Fix that, or {OTHERWISE}"
