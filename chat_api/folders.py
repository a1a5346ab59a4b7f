"""Where the SQL lies (at the top of a checkout, inside the package once installed), and the web page."""

from pathlib import Path

SCHEMA_FILE = "schema.sql"
"""The only file of `sql/` without queries: the schema that the migrations make, to be read."""

_PACKAGE = Path(__file__).resolve().parent


def sql_dir() -> Path:
    """The folder of the named queries."""
    return _folder("sql")


def query_files() -> list[Path]:
    """List the files that hold the named queries, by name: those of `sql/` except `schema.sql`."""
    return sorted(path for path in sql_dir().glob("*.sql") if path.name != SCHEMA_FILE)


def migrations_dir() -> Path:
    """The folder of the migrations."""
    return _folder("migrations")


def web_dir() -> Path:
    """The folder of the web page."""
    return _PACKAGE / "web"


def migration_ids() -> list[str]:
    """The migrations that this code brings, in order."""
    names = [path.name for path in migrations_dir().glob("[0-9]*.sql")]
    return sorted(name.removesuffix(".sql") for name in names if not name.endswith(".rollback.sql"))


def _folder(name: str) -> Path:
    # Inside first: beside an installed package, a folder of this name is somebody else's.
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
