"""The pages of docs/operations, as tests read them."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "operations"


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, with stripped cells."""
    text = (FOLDER / page).read_text().partition(f"\n## {heading}\n")[2]
    rows = []
    for line in text.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows:
            break
    assert len(rows) > 2, f"{page} has no table below {heading}"
    return rows[2:]


def names(cell: str) -> list[str]:
    """The texts in back quotes."""
    return re.findall("`([^`]+)`", cell)
