"""Two kinds of chart as SVG files, for the README. They follow the reader's light or dark theme."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import cycle
from pathlib import Path

WIDTH = 760
MARGIN = 24
# Colour-blind readers can distinguish them, on white and on near-black (after Okabe and Ito).
COLOURS = ("#2b7fc3", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")
STYLE = """
svg { color-scheme: light dark; --paper: #ffffff; --ink: #1f2328; --faint: #59636e; --rule: #d8dee4 }
@media (prefers-color-scheme: dark) {
  svg { --paper: #0d1117; --ink: #e6edf3; --faint: #9198a1; --rule: #30363d }
}
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: var(--faint) }
.title { font-size: 16px; font-weight: 600; fill: var(--ink) }
.name { fill: var(--ink) }
.middle { text-anchor: middle }
.end { text-anchor: end }
.rule { stroke: var(--rule) }
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round }
"""


def lines(
    path: Path,
    title: str,
    x_label: str,
    y_label: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
) -> None:
    """Draw a line for each series, with its points marked. Both axes begin at zero."""
    height, left, top, right, bottom = 420, 76, 96, WIDTH - MARGIN, 360
    xs, ys = (_ticks(max(point[axis] for points in series.values() for point in points)) for axis in (0, 1))

    def across(x: float) -> float:
        return left + (right - left) * x / xs[-1]

    def up(y: float) -> float:
        return bottom - (bottom - top) * y / ys[-1]

    def drawn() -> Iterator[str]:
        for y in ys:
            yield f'<path class="rule" d="M{left} {up(y):.1f}H{right}"/>'
            yield _text(left - 8, up(y) + 4, _number(y), "end")
        for x in xs:
            yield _text(across(x), bottom + 20, _number(x), "middle")
        yield _text((left + right) / 2, height - 16, x_label, "middle")
        yield _text(0, 0, y_label, "middle", f"translate(24 {(top + bottom) / 2}) rotate(-90)")
        for colour, points in zip(cycle(COLOURS), series.values(), strict=False):
            places = [(across(x), up(y)) for x, y in sorted(points)]
            way = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            yield f'<path class="line" stroke="{colour}" d="M{way}"/>'
            yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in places)

    _write(path, title, series, height, drawn())


def bars(
    path: Path,
    title: str,
    y_label: str,
    pairs: Mapping[str, tuple[float, float]],
    names: tuple[str, str],
) -> None:
    """Draw two horizontal bars with their values for each entry, so that long names can be read."""
    top, left, right, row = 100, 248, WIDTH - MARGIN - 40, 30
    bottom = top + row * len(pairs)
    ticks = _ticks(max(max(pair) for pair in pairs.values()))

    def across(value: float) -> float:
        return left + (right - left) * value / ticks[-1]

    def drawn() -> Iterator[str]:
        for tick in ticks:
            yield f'<path class="rule" d="M{across(tick):.1f} {top - 6}V{bottom}"/>'
            yield _text(across(tick), bottom + 18, _number(tick), "middle")
        yield _text((left + right) / 2, bottom + 42, y_label, "middle")
        for place, (name, pair) in enumerate(pairs.items()):
            y = top + row * place
            yield _text(left - 10, y + 16, name, "name end")
            for half, (colour, value) in enumerate(zip(cycle(COLOURS), pair, strict=False)):
                upper, width = y + 12 * half, across(value) - left
                yield f'<rect x="{left}" y="{upper}" width="{width:.1f}" height="11" fill="{colour}"/>'
                yield _text(across(value) + 5, upper + 10, _number(value))

    _write(path, title, names, bottom + 60, drawn())


def _write(path: Path, title: str, legend: Iterable[str], height: int, drawn: Iterable[str]) -> None:
    keys, x = [], MARGIN
    for colour, name in zip(cycle(COLOURS), legend, strict=False):
        keys += [f'<rect x="{x}" y="56" width="12" height="12" rx="2" fill="{colour}"/>']
        keys += [_text(x + 18, 66, name, "name")]
        x += 48 + 7 * len(name)
    frame = f'width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {frame} role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect {frame} rx="8" fill="var(--paper)"/>',
        _text(MARGIN, 36, title, "title"),
        *keys,
        *drawn,
        "</svg>\n",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _text(x: float, y: float, words: str, kind: str = "", transform: str = "") -> str:
    more = f' class="{kind}"' * bool(kind) + f' transform="{transform}"' * bool(transform)
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(words)}</text>'


def _ticks(largest: float) -> list[float]:
    """Four to eight round numbers, from zero to the largest value or just above it."""
    rough = (largest or 1) / 6
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    return [step * i for i in range(math.ceil((largest or 1) / step) + 1)]


def _number(value: float) -> str:
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
