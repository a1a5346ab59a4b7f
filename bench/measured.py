"""What a figure gets to measure with, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from chat_api.dev.postgres.server import Postgres

TOKENS, RATE = 150, 30.0
"""An answer's tokens, and how many of them come in a second, unless a figure is about other answers."""


@dataclass(frozen=True)
class Setup:
    """What all figures of one run share."""

    postgres: Postgres
    """A server of the run's own, whose first database is migrated."""
    folder: Path
    """For temporary files; PostgreSQL's user can read it."""
    runs: int
    """How often to repeat a measurement whose median is wanted."""

    @property
    def database_url(self) -> str:
        """The address of the migrated database."""
        return self.postgres.dsn()


@dataclass(frozen=True)
class Row:
    """A line of the table in bench/README.md."""

    figure: str
    goal: str
    measured: str
    met: bool | None  # None: only for comparison

    def __str__(self) -> str:
        met = {True: "yes", False: "**no**", None: ""}[self.met]
        return f"| {self.figure} | {self.goal} | {self.measured} | {met} |"


Points = dict[str, list[tuple[float, float]]]
"""Series of the graph tokens.svg, by name: numbers of streams, and microseconds a token."""

Pairs = dict[str, tuple[int, int]]
"""Bars of the graph buffers.svg, by name: buffers in a small history and in a large one."""


@dataclass
class Measured:
    """What a figure adds to the table and to the graphs."""

    rows: list[Row]
    points: Points = field(default_factory=dict)
    pairs: Pairs = field(default_factory=dict)

    def add(self, more: Measured) -> None:
        """Append another figure's results."""
        self.rows += more.rows
        for series, points in more.points.items():
            self.points.setdefault(series, []).extend(points)
        self.pairs |= more.pairs


Figure = Callable[[Setup], Measured]
