"""Query files with mistakes, as a person makes them."""

from __future__ import annotations

from pathlib import Path


def edit(file: Path, old: str, new: str) -> None:
    """Replace a text, which is there once."""
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def line_of(file: Path, text: str) -> int:
    """The number of the line that has this text."""
    return next(number for number, line in enumerate(file.read_text().splitlines(), 1) if text in line)
