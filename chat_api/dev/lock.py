"""A lock on a folder that is released when its holder ends, in whatever way."""

import fcntl
from pathlib import Path
from typing import IO


class LockHeldError(Exception):
    """Another process holds the lock. The text is the note that it left."""


class Lock:
    """An exclusive lock on the file `path`. The file stays, with the last holder's note in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def take(self) -> None:
        """Take the lock, or keep it; create its folder if necessary. Raises LockHeldError, OSError."""
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
        """Read the note: the holder's, or the previous holder's until there is a new one."""
        return self._path.read_text()

    def note(self, text: str) -> None:
        """Leave the note `text` for processes that find the lock held, and for the next holder."""
        self._path.write_text(text)

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._file is not None:
            self._file.close()
            self._file = None
