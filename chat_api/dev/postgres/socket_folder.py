"""Where PostgreSQL's unix socket lies."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

PORT = 5432  # only a part of the socket's name where there is no TCP
_SOCKET_PATH_BYTES = 103  # sun_path: 104 bytes with its zero on macOS, 108 on Linux


def socket_folder(data_dir: Path) -> Path:
    """A short name in the temporary folder, the same for each run: a data folder's own path may be longer
    than a socket's address can be, or closed to the user who runs PostgreSQL.
    """
    name = f"chat-api-{hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]}"
    folder = Path(tempfile.gettempdir()).resolve() / name
    socket = os.fsencode(folder / f".s.PGSQL.{PORT}")
    return folder if os.geteuid() != 0 and len(socket) <= _SOCKET_PATH_BYTES else Path("/tmp") / name  # noqa: S108


def make_socket_folder(folder: Path, user: tuple[int, int] | None) -> None:
    """Make it anew, empty, for `user` alone. Raises FileExistsError where somebody else holds the name."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    if user is not None:
        os.chown(folder, *user)
