"""The encoding of a database, which must hold whatever users and models write."""

ENCODING_REMEDY = "make another with create database … encoding 'UTF8' template template0"


class WrongEncoding(Exception):
    """The database isn't UTF8; the text says so."""


def explain_encoding(encoding: str) -> str:
    """What is wrong with a database of this encoding."""
    return f"the database's encoding is {encoding}, and must be UTF8"
