"""`make bench` measures the figures that it is asked for, each a module of bench/figures/."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import bench.__main__ as program
from bench import figures
from bench.figures import FIGURES
from bench.measured import Measured, Row, Setup
from chat_api.dev.postgres.server import Postgres


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(Postgres(tmp_path / "never-started"), tmp_path, runs=1)


def test_each_figure_is_registered_under_the_name_of_its_module() -> None:
    modules = {path.stem for path in Path(figures.__file__).parent.glob("*.py")} - {"__init__"}
    assert {name.replace("-", "_") for name in FIGURES} == modules
    for name, measure in FIGURES.items():
        assert measure.__module__ == f"bench.figures.{name.replace('-', '_')}"


def test_what_is_asked_for_is_measured_in_the_order_of_the_table(
    monkeypatch: pytest.MonkeyPatch, setup: Setup
) -> None:
    for name in FIGURES:
        row = Row(name, "≤ 1", "2", met=False)
        monkeypatch.setitem(
            FIGURES, name, lambda _, row=row: Measured([row], {"nginx": [(1, 2)]}, {"a": (3, 4)})
        )
    found = program.measure(["start", "tokens"], setup)
    assert [row.figure for row in found.rows] == ["tokens", "start"]
    assert found.points == {"nginx": [(1, 2), (1, 2)]}
    assert found.pairs == {"a": (3, 4)}
    assert [row.figure for row in program.measure(FIGURES, setup).rows] == list(FIGURES)


def test_the_table_goes_between_the_marks_of_the_page_and_the_graphs_beside_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = [Row("a", "≤ 1", "2", met=False), Row("b", "", "3", met=None), Row("c", "4", "4", met=True)]
    monkeypatch.setitem(FIGURES, "start", lambda _: Measured(rows, {"nginx": [(1, 2)]}))
    monkeypatch.setattr(program, "FOLDER", tmp_path)
    monkeypatch.setattr(program, "describe", lambda: "today, here")
    monkeypatch.setattr(sys, "argv", ["bench", "--only", "start", "--write"])
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- table: made -->\nold\n<!-- /table -->\nafter\n")
    program.main()
    table = (
        "| Figure | Goal | Measured | Met |\n|---|---|---|---|\n"
        "| a | ≤ 1 | 2 | **no** |\n| b |  | 3 |  |\n| c | 4 | 4 | yes |\n\ntoday, here.\n"
    )
    assert capsys.readouterr().out == table
    assert page.read_text() == f"before\n<!-- table: made -->\n{table}<!-- /table -->\nafter\n"
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "tokens.svg"}
