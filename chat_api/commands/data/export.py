"""Export everything about one user as JSON Lines. It is streamed, so memory doesn't grow with its size."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from chat_api.commands.data.erase import Amount
from chat_api.commands.data.queries import Queries
from chat_api.commands.errors import FailedError
from chat_api.exports.lines import Counted, first_line


def export(
    session: Queries, user_id: UUID, write: Callable[[bytes], object], conversation_id: UUID | None = None
) -> tuple[Amount, int]:
    """Write a line per conversation, message, generation and row of usage, from one snapshot.

    Returns how many of each, those of usage at last. `conversation_id`: of this conversation only; if there
    is nothing of it, nothing is written.
    """
    counted = Counted()
    first = f"{first_line(user_id, conversation_id)}\n".encode()
    for row in session.stream("users.export", user_id=user_id, conversation_id=conversation_id, part=None):
        line: str = row["line"]
        write(first + f"{line}\n".encode())
        first = b""
        counted.add(line)
    if not first or conversation_id is None:
        write(first + f"{counted.last_line()}\n".encode())
    of = counted.of
    return Amount(of["conversation"], of["message"], of["generation"]), of["usage"]


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
