"""Puts the messages of a source in order: parents first, one active path, whatever its tree is like."""

from __future__ import annotations

from collections import defaultdict

from chat_api.importing.conversation import Node, Placed
from chat_api.importing.values import joined


def arrange(nodes: list[Node], current: str | None) -> list[Placed]:
    """The messages of a tree, each behind the one that it comes after.

    What comes after a node without a message comes after the next one above. A node whose parent is
    missing, or comes after itself, begins the conversation. The active path leads through `current`, or to
    the newest message, and on to the end.
    """
    known = {node.key: node for node in reversed(nodes)}  # of two with one key, the first counts
    kept = [node for node in known.values() if node.message is not None]
    kept.reverse()
    parents = _parents(known)
    below = _below(kept, parents)
    placed: list[Placed] = []
    places: dict[str, int] = {}
    waiting = [below[None][::-1]]
    while waiting:
        if not waiting[-1]:
            waiting.pop()
            continue
        node = waiting[-1].pop()
        parent = parents[node.key]
        place = 0 if parent is None else places[parent]
        siblings = below[parent]
        if place and node.joins and len(siblings) == 1 and known[parent or ""].joins:
            _join(placed[place - 1], node)
            places[node.key] = place
        else:
            assert node.message is not None  # noqa: S101 - as kept
            placed.append(Placed(node.message, place, has_versions=len(siblings) > 1))
            places[node.key] = len(placed)
        waiting.append(below[node.key][::-1])
    _activate(placed, places.get(_shown(known, kept, parents, current)))
    return placed


def _parents(known: dict[str, Node]) -> dict[str, str | None]:
    """For each node, the next one above that has a message. No circles."""
    found: dict[str, str | None] = {}
    for start in known:
        path: list[str] = []
        on_path: set[str] = set()
        key: str | None = start
        while key is not None and key in known and key not in found and key not in on_path:
            path.append(key)
            on_path.add(key)
            key = known[key].parent
        above: str | None = None
        if key is not None and key in found:
            above = key if known[key].message is not None else found[key]
        # A circle, or a missing parent: the topmost one begins.
        for each in reversed(path):
            found[each] = above
            if known[each].message is not None:
                above = each
    return found


def _below(kept: list[Node], parents: dict[str, str | None]) -> defaultdict[str | None, list[Node]]:
    below: defaultdict[str | None, list[Node]] = defaultdict(list)
    for node in kept:
        below[parents[node.key]].append(node)
    for siblings in below.values():
        siblings.sort(key=lambda node: node.rank)
    return below


def _join(placed: Placed, node: Node) -> None:
    first, more = placed.message, node.message
    assert more is not None  # noqa: S101 - as kept
    first.text = joined([first.text, more.text])
    first.reasoning = joined([first.reasoning or "", more.reasoning or ""]) or None
    first.model = more.model or first.model
    first.finish_reason = more.finish_reason


def _shown(
    known: dict[str, Node], kept: list[Node], parents: dict[str, str | None], current: str | None
) -> str:
    """The key of the message that is shown: the current one, else the newest."""
    if current is not None and current in known:
        above = current if known[current].message is not None else parents[current]
        if above is not None:
            return above
    dated = [
        (node.message.created_at, number, node.key)
        for number, node in enumerate(kept)
        if node.message is not None and node.message.created_at is not None
    ]
    return max(dated)[2] if dated else kept[-1].key if kept else ""


def _activate(placed: list[Placed], place: int | None) -> None:
    """Mark the path to a place, and on by the newest message each time."""
    if place is None:
        return
    last: dict[int, int] = {}
    for number, each in enumerate(placed, start=1):
        last[each.parent] = number
    down = last.get(place)
    while down is not None:
        placed[down - 1].is_active = True
        down = last.get(down)
    while place:
        placed[place - 1].is_active = True
        place = placed[place - 1].parent
