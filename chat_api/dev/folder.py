"""The development stack's data folder. Only one stack uses it at a time, and git ignores its contents."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from chat_api.dev.errors import DevError
from chat_api.dev.lock import Lock, LockHeldError


@contextlib.contextmanager
def held(folder: Path, address: str) -> Iterator[None]:
    """Create `folder` if necessary, and be the only stack that uses it. A second stack reports our `address`.

    Raises DevError if another stack uses it, or if it can't be created.
    """
    lock = Lock(folder / "lock")
    try:
        lock.take()
        lock.note(f"{os.getpid()} {address}")
        (folder / ".gitignore").write_text("*\n")
    except LockHeldError as other:
        pid, _, its_address = str(other).partition(" ")
        raise DevError(
            f"already running (pid {pid}), at {its_address}; to start another one, add --data-dir DIR"
        ) from None
    except OSError as error:
        lock.release()
        raise DevError(f"{folder} can't be used: {error.strerror}; choose another --data-dir") from error
    try:
        yield
    finally:
        lock.release()
