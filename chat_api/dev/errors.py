"""What can go wrong while a development stack starts."""


class DevError(Exception):
    """The development stack can't run. The text is one sentence: what is wrong, and what to do.

    DevError
    ├── PostgresError   PostgreSQL can't run
    └── ModelError      the local model can't run
    """


class PostgresError(DevError):
    """PostgreSQL can't be started or used."""


class ModelError(DevError):
    """The local model can't be fetched or run."""
