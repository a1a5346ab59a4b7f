"""The development stack's data folder: one stack at a time, and nothing in it that git should see."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from chat_api.dev.errors import DevError
from chat_api.dev.lock import Lock, LockHeldError


@contextlib.contextmanager
def held(folder: Path, address: str) -> Iterator[None]:
    """Make `folder` if need be and be the only stack on it; `address` is what a second one tells its user.

    Raises DevError where another stack has it, or it can't be made.
    """
    lock = Lock(folder / "lock")
    try:
        lock.take()
        lock.note(f"{os.getpid()} {address}")
        (folder / ".gitignore").write_text("*\n")
    except LockHeldError as other:
        pid, _, its_address = str(other).partition(" ")
        raise DevError(
            f"already running (pid {pid}), its address is {its_address}; --data-dir DIR starts another one"
        ) from None
    except OSError as error:
        lock.release()
        raise DevError(f"{folder} can't be used: {error.strerror}; choose another --data-dir") from error
    try:
        yield
    finally:
        lock.release()
