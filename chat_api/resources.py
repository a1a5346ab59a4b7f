"""Where the SQL lies: at the top of a checkout, inside the package once installed."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def sql_dir() -> Path:
    """The folder of the named queries."""
    return _folder("sql")


def migrations_dir() -> Path:
    """The folder of the migrations."""
    return _folder("migrations")


def _folder(name: str) -> Path:
    # Inside first: beside an installed package, a folder of this name is somebody else's.
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
