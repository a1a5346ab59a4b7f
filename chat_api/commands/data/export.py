"""Everything of one user as JSON Lines: streamed, so that memory doesn't grow with it."""

from __future__ import annotations

import os
import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from chat_api.commands.data.erase import Amount
from chat_api.commands.data.queries import Queries
from chat_api.commands.errors import FailedError


def export(session: Queries, user_id: UUID, write: Callable[[bytes], object]) -> Amount:
    """Write a line a conversation, message and generation, of one moment; how many of each."""
    counts: Counter[str] = Counter()
    for row in session.stream("users.export", user_id=user_id):
        line: str = row["line"]
        write(f"{line}\n".encode())
        counts[line.split('"', 4)[3]] += 1  # it begins with {"type":"…"
    return Amount(counts["conversation"], counts["message"], counts["generation"])


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name when it is complete and on the disk; until then nobody sees a part of it.

    Raises:
        FailedError: it can't be written, or would take the place of a link, a device, anything but a file.
    """
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise FailedError(f"cannot write {path}: it is there, and no regular file")
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 600
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink()
            raise
    except OSError as error:
        raise FailedError(f"cannot write {path}: {error.strerror or error}") from error
