"""The chat backend of samosaChaat: conversations in PostgreSQL, answers streamed from a model server."""

__version__ = "0.1.0"
