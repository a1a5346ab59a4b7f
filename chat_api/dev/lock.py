"""A lock on a folder that goes with its holder, however that ends."""

import fcntl
from pathlib import Path
from typing import IO


class LockHeldError(Exception):
    """Another process holds the lock; the text is the note that it left."""


class Lock:
    """An exclusive lock on the file `path`, which stays behind with the last holder's note."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._file is not None

    def take(self) -> None:
        """Take it, or keep it; make the folder that it lies in. Raises LockHeldError, OSError."""
        if self._file is not None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            note = file.read()
            file.close()
            raise LockHeldError(note) from None
        self._file = file

    def read(self) -> str:
        """The note of the holder, at first of the one before."""
        return self._path.read_text()

    def note(self, text: str) -> None:
        """Leave `text` for whoever finds the lock held, or takes it next."""
        self._path.write_text(text)

    def release(self) -> None:
        """Give it up, if it is held."""
        if self._file is not None:
            self._file.close()
            self._file = None
