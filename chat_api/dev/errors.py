"""What can go wrong while a development stack starts."""


class DevError(Exception):
    """One sentence: what is wrong, and what to do.

    DevError
    ├── PostgresError   no PostgreSQL
    └── ModelError      no local model
    """


class PostgresError(DevError):
    """There is no PostgreSQL to be had."""


class ModelError(DevError):
    """There is no local model to be had."""
