"""The charts of the bench are well-formed, say what they show, and keep to their frame."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.chart import bars, lines

SVG = "{http://www.w3.org/2000/svg}"


def words(root: ElementTree.Element) -> set[str | None]:
    return {each.text for each in root.iter(f"{SVG}text")}


def test_lines_are_named_by_their_axes_and_series_and_rise_with_their_values(tmp_path: Path) -> None:
    path = tmp_path / "cost.svg"
    series = {"service, SSE": [(400, 30), (100, 40.5)], "nginx <1.22>": [(100, 20), (400, 20)]}
    lines(path, "Cost & streams", "streams", "CPU µs a token", series)
    root = ElementTree.parse(path).getroot()
    assert {"Cost & streams", "streams", "CPU µs a token", *series} <= words(root)
    assert {"0", "400", "10", "40"} <= words(root)
    points = [(float(each.attrib["cx"]), float(each.attrib["cy"])) for each in root.iter(f"{SVG}circle")]
    assert len(points) == 4
    assert points[0][0] == points[2][0] < points[1][0] == points[3][0]
    assert points[0][1] < points[1][1] < points[2][1] == points[3][1]


def test_bars_stand_in_pairs_with_their_figures_and_lengths(tmp_path: Path) -> None:
    path = tmp_path / "buffers.svg"
    sizes = ("10⁴ messages", "10⁶ messages")
    bars(path, "Buffers", "buffers touched", {"journal.tick": (200, 400), "messages.exchange": (0, 1)}, sizes)
    root = ElementTree.parse(path).getroot()
    expected = {"Buffers", "buffers touched", *sizes, "journal.tick", "messages.exchange", "200", "400", "1"}
    assert expected <= words(root)
    small, large, *_ = [
        float(each.attrib["width"]) for each in root.iter(f"{SVG}rect") if each.attrib["height"] == "11"
    ]
    assert large == pytest.approx(2 * small, abs=0.1)
    assert large < float(root.attrib["width"])


@pytest.mark.parametrize("largest", [0, 0.004, 7, 292, 12_345])
def test_an_axis_ends_at_a_round_number_that_nothing_exceeds(tmp_path: Path, largest: float) -> None:
    path = tmp_path / "axis.svg"
    lines(path, "t", "x", "y", {"a": [(0, 0), (1, largest)]})
    root = ElementTree.parse(path).getroot()
    tops = [float(each.attrib["cy"]) for each in root.iter(f"{SVG}circle")]
    assert min(tops) >= 95.9
    assert max(tops) == 360
