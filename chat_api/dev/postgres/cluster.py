"""A PostgreSQL data folder ("cluster"): what is in it, who runs it, and how a new one is made."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Container, Iterator
from pathlib import Path
from signal import SIGINT

from chat_api.dev.errors import PostgresError
from chat_api.dev.postgres.installation import reachable
from chat_api.dev.tether import NOT_EXECUTABLE, tethered

_MARKS = ("FATAL:", "PANIC:", "error:")
_PREVIOUS_SECONDS = 10  # how long a server whose launcher was killed may take to end
_LINUX = sys.platform == "linux"
User = tuple[int, int] | None
_INITDB_MAKES = ("PG_VERSION", "base", "global", "pg_", "postgresql.", "postmaster.")

# Nothing from the caller's environment: PGDATA, PGOPTIONS and locales for a real database must have no effect
# here.
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


def major_version(data_dir: Path) -> str | None:
    """The PostgreSQL version that made the cluster in `data_dir`, such as "18"; None if there is no cluster.

    What an interrupted initdb left is renamed out of the way (`….incomplete-1`). It is never deleted, because
    it may be somebody's damaged cluster. Raises PostgresError if `data_dir` contains something else.
    """
    if not data_dir.exists():
        return None
    names = sorted(entry.name for entry in data_dir.iterdir())
    if not names:
        return None
    if {"PG_VERSION", "global"} <= set(names) and (data_dir / "global" / "pg_control").is_file():
        return (data_dir / "PG_VERSION").read_text().strip()
    if not all(name.startswith(_INITDB_MAKES) for name in names):
        raise PostgresError(f"{data_dir} contains other things than PostgreSQL's data: choose another folder")
    aside = (data_dir.with_name(f"{data_dir.name}.incomplete-{n}") for n in range(1, 1000))
    data_dir.rename(next(path for path in aside if not path.exists()))
    return None


@contextlib.contextmanager
def named_for(user: User, folder: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield a name under which `user` can open `folder`, and the descriptors that it must inherit.

    If root runs the process as another user, the folder may be below folders that are closed to that user,
    such as root's home. On Linux, an inherited descriptor still gives access.
    """
    if user is None or (not _LINUX and reachable(folder, user)):
        yield str(folder), ()
    elif not _LINUX:
        raise PostgresError(f"{folder} is closed to the user who runs PostgreSQL: choose another folder")
    else:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{descriptor}", (descriptor,)
        finally:
            os.close(descriptor)


def create(data_dir: Path, binaries: Path, user: User, *, sync: bool, builtin: bool) -> None:
    """Make a new cluster: superuser `postgres`, trust, UTF-8 and C.UTF-8, the same on every machine.

    With `builtin`, it uses PostgreSQL's own C.UTF-8, which 17 and newer have, instead of the system's.

    It is made beside `data_dir`, and renamed once it is complete, so `data_dir` never contains a partial one.
    Raises PostgresError with initdb's own reason.
    """
    fresh = data_dir.with_name(f"{data_dir.name}.initdb")
    if fresh.exists():  # initdb was interrupted in there; nothing ever ran on it
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700, parents=True)
    if user is not None:
        os.chown(fresh, *user)
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", *([] if sync else ["--no-sync"])]
    own = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    options += own if builtin else ["--locale=C.UTF-8"]
    with named_for(user, fresh) as (name, descriptors):
        initdb = subprocess.run(  # noqa: PLW1510 - we report its own reason
            tethered([str(binaries / "initdb"), "-D", name, *options], SIGINT, user),
            env=ENVIRONMENT, cwd="/", pass_fds=descriptors, start_new_session=True,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        )  # fmt: skip
    if initdb.returncode != 0:
        shutil.rmtree(fresh, ignore_errors=True)
        why = reason(initdb.returncode, initdb.stderr)
        raise PostgresError(
            f"PostgreSQL couldn't create {data_dir}: {why}. Fix that, or choose another folder"
        )
    fresh.rename(data_dir)


def hand_over(data_dir: Path, user: User) -> None:
    """Give the cluster to the user who runs it, and close it to all others, as PostgreSQL requires."""
    data_dir.chmod(0o700)
    if user is None or data_dir.stat().st_uid == user[0]:
        return
    for path in (data_dir, *data_dir.rglob("*")):
        os.chown(path, *user, follow_symlinks=False)


def postmaster(data_dir: Path) -> int | None:
    """The process id of the server that runs on `data_dir`; None if none does.

    `postmaster.pid` alone proves nothing, because after a crash its number may belong to any process.
    """
    try:
        pid = int((data_dir / "postmaster.pid").read_text().splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None
    return pid if _runs_on(pid, data_dir) else None


def already_runs(data_dir: Path, pid: int | str) -> PostgresError:
    """Make the error for a folder on which another server is running."""
    return PostgresError(f"PostgreSQL is already running on {data_dir} (pid {pid}): stop that one first")


def end_previous(data_dir: Path, ours: Container[str]) -> None:
    """End a server whose launcher was killed, wait until it has ended, and remove what a crash left.

    The caller holds the lock, so no launcher is active. If a server is running all the same, it is asked to
    end if it is one of `ours` (process ids that a launcher noted). Otherwise it is somebody else's, and we
    leave it alone. Raises PostgresError for that, and for a server that doesn't end.
    """
    deadline = time.monotonic() + _PREVIOUS_SECONDS
    is_asked = False
    while (pid := postmaster(data_dir)) is not None:
        if str(pid) not in ours or time.monotonic() > deadline:
            raise already_runs(data_dir, pid)
        if not is_asked:
            os.kill(pid, SIGINT)
            is_asked = True
        time.sleep(0.02)
    # PostgreSQL would refuse to start if the number in this file now belonged to any live process.
    (data_dir / "postmaster.pid").unlink(missing_ok=True)


def ready(data_dir: Path, pid: int) -> bool:
    """Whether the server `pid` accepts connections: line 8 of its file says so, which pg_ctl reads too."""
    try:
        lines = (data_dir / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _runs_on(pid: int, data_dir: Path) -> bool:
    if _LINUX:
        process = Path(f"/proc/{pid}")
        try:
            return (process / "comm").read_text().strip() == "postgres" and (process / "cwd").samefile(
                data_dir
            )
        except OSError:  # it has ended, or is another user's, who can't have this folder open
            return False
    listing = subprocess.run(  # noqa: PLW1510 - it fails if there is no such process
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True
    )
    return "postgres" in listing.stdout and f"-D {data_dir}" in listing.stdout


def reason(status: int, output: str) -> str:
    """Find the line of a PostgreSQL program's output that says why it failed. Its prefix is removed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if status == NOT_EXECUTABLE:
        return f"its binaries don't run on this machine ({lines[-1]}), so use 'serve' with a database"
    telling = [line for line in lines if any(mark in line for mark in _MARKS)]
    line = (telling or lines[-1:] or [f"status {status}"])[0]
    for mark in _MARKS:
        line = line.rpartition(mark)[2].strip()
    return line
