"""What changed between two saves of the queries' plans."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field

from chat_api.commands.sql.plans import Plan, Saved

FEW_BUFFERS = 10
"""So many more are no change, whatever the tolerance: an index that grew a level, a page that was full."""


@dataclass(frozen=True, slots=True)
class Change:
    """A difference, and the cases that have it in common."""

    name: str
    what: str
    """In one line."""
    cases: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    """Lines below it: the difference of the plans."""


def compare_plans(before: Saved, now: Saved, tolerance: int) -> Iterator[Change]:
    """What changed; more buffers only beyond `tolerance` percent and FEW_BUFFERS."""
    for name in sorted(before.texts.keys() | now.texts.keys()):
        if name not in now.texts:
            yield Change(name, "is gone")
        elif name not in before.texts:
            yield Change(name, "is new; save the plans to have it compared")
        elif name in now.failed:
            if name not in before.failed:
                yield Change(name, f"fails: {now.failed[name]}")
        elif name in before.failed:
            yield Change(name, f"failed when the plans were saved ({before.failed[name]}); save them anew")
        else:
            seen: dict[tuple[str, tuple[str, ...]], list[str]] = {}
            for case in sorted(before.plans[name].keys() & now.plans[name].keys()):
                for change in _changes(before.plans[name][case], now.plans[name][case], tolerance):
                    seen.setdefault(change, []).append(case)
            edited = "" if before.texts[name] == now.texts[name] else "; its text changed too"
            for (what, details), cases in seen.items():
                yield Change(name, f"{what}{edited}", cases, list(details))


def _changes(before: Plan, now: Plan, tolerance: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    if before.shape != now.shape:
        difference = difflib.unified_diff(before.shape, now.shape, lineterm="", n=1)
        lines = (line for line in difference if not line.startswith(("---", "+++", "@@")))
        yield "; ".join(_ways(before, now)) or "has another plan", tuple(lines)
    if now.buffers > before.buffers * (1 + tolerance / 100) and now.buffers > before.buffers + FEW_BUFFERS:
        names = before.relations.keys() | now.relations.keys()
        more = {name: (before.relations.get(name, 0), now.relations.get(name, 0)) for name in names}
        grown = sorted(
            (name for name in names if more[name][1] > more[name][0]),
            key=lambda name: (more[name][0] - more[name][1], name),
        )
        details = tuple(f"{name} {more[name][0]} to {more[name][1]}" for name in grown[:5])
        yield f"touches {now.buffers} buffers instead of {before.buffers}", details


def _ways(before: Plan, now: Plan) -> Iterator[str]:
    if scanned := sorted({*now.scanned} - {*before.scanned}):
        yield f"reads all of {', '.join(scanned)}: a new sequential scan"
    lost, won = sorted({*before.indexes} - {*now.indexes}), sorted({*now.indexes} - {*before.indexes})
    if lost:
        yield f"uses {', '.join(won) or 'no other index'} instead of {', '.join(lost)}"
    elif won:
        yield f"uses {', '.join(won)} too"
