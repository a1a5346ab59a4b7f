"""The folder of PostgreSQL's unix socket."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

PORT = 5432  # only a part of the socket's name where there is no TCP
_SOCKET_PATH_BYTES = 103  # sun_path: 104 bytes with its zero on macOS, 108 on Linux


def socket_folder(data_dir: Path) -> Path:
    """A folder with a short name in the temporary folder, the same for each run.

    The data folder's own path may be too long for a socket's address, or closed to the user who runs
    PostgreSQL.
    """
    name = f"chat-api-{hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]}"
    folder = Path(tempfile.gettempdir()).resolve() / name
    socket = os.fsencode(folder / f".s.PGSQL.{PORT}")
    return folder if os.geteuid() != 0 and len(socket) <= _SOCKET_PATH_BYTES else Path("/tmp") / name  # noqa: S108


def make_socket_folder(folder: Path, user: tuple[int, int] | None) -> None:
    """Create it again, empty and only for `user`. Raises FileExistsError if another user has that name."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    if user is not None:
        os.chown(folder, *user)
