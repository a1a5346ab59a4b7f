"""Export everything about one user as JSON Lines. It is streamed, so memory doesn't grow with its size."""

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


def export(
    session: Queries, user_id: UUID, write: Callable[[bytes], object], conversation_id: UUID | None = None
) -> tuple[Amount, int]:
    """Write a line per conversation, message, generation and row of usage, from one snapshot.

    Returns how many of each, those of usage at last. `conversation_id`: of this conversation only.
    """
    counts: Counter[str] = Counter()
    for row in session.stream("users.export", user_id=user_id, conversation_id=conversation_id):
        line: str = row["line"]
        write(f"{line}\n".encode())
        counts[line.split('"', 4)[3]] += 1  # a line begins with {"type":"…"
    return Amount(counts["conversation"], counts["message"], counts["generation"]), counts["usage"]


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name only once it is complete and on the disk. Nobody sees a part of it.

    Raises:
        FailedError: it can't be written, or would replace something that isn't a regular file.
    """
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise FailedError(f"cannot write {path}: it exists, and isn't a regular file")
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
