"""Where the SQL, the pages and the web page are.

All but the web page are at the top of a checkout, and inside an installed package.
"""

from pathlib import Path

SCHEMA_FILE = "schema.sql"
"""The only file of `sql/` without queries. It shows the schema that the migrations make, and is never run."""

_PACKAGE = Path(__file__).resolve().parent


def sql_dir() -> Path:
    """The folder of the named queries."""
    return _folder("sql")


def query_files() -> list[Path]:
    """The files that hold the named queries, sorted by name: those of `sql/` except `schema.sql`."""
    return sorted(path for path in sql_dir().glob("*.sql") if path.name != SCHEMA_FILE)


def migrations_dir() -> Path:
    """The folder of the migrations."""
    return _folder("migrations")


def docs_dir() -> Path:
    """The folder of the pages."""
    return _folder("docs")


def scripts_dir() -> Path:
    """The folder of the scripts that DBAs run with psql when they choose to."""
    return _folder("deploy") / "postgresql"


def web_dir() -> Path:
    """The folder of the web page."""
    return _PACKAGE / "web"


def migration_ids() -> list[str]:
    """The ids of the migrations that this release has, in order."""
    names = [path.name for path in migrations_dir().glob("[0-9]*.sql")]
    return sorted(name.removesuffix(".sql") for name in names if not name.endswith(".rollback.sql"))


def _folder(name: str) -> Path:
    # Inside first, because a folder of this name beside an installed package belongs to something else.
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
