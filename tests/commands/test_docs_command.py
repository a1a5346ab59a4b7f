"""`chat-api docs`, from a checkout. tests/packaging runs it from the wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from chat_api.cli import main

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]


def pages() -> dict[str, Path]:
    """The names of all pages and scripts, and where each is."""
    docs, scripts = ROOT / "docs", ROOT / "deploy"
    found = {str(path.relative_to(docs).with_suffix("")): path for path in docs.rglob("*.md")}
    found |= {str(path.relative_to(ROOT)): path for path in (scripts / "postgresql").rglob("*.sql")}
    return found | {"sql/README": ROOT / "sql" / "README.md"}


def test_every_page_and_script_is_listed_with_what_it_is_about(capsys: Capture) -> None:
    assert main(["docs"]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert listed.keys() == pages().keys()
    assert {"operations/runbook", "settings", "deploy/postgresql/row-security.sql"} <= listed.keys()
    assert listed["operations/runbook"] == "Runbook"
    assert (
        listed["deploy/postgresql/partition-messages/4-finish.sql"]
        == "Drops the old table and what led here."
    )


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_page_is_printed_as_it_is(name: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["docs", name]) == 0
    assert capfdbinary.readouterr() == (pages()[name].read_bytes(), b"")


@pytest.mark.parametrize(
    "path", ["docs/operations/runbook.md", "operations/runbook.md", "./docs/operations/runbook.md"]
)
def test_a_page_has_also_the_name_that_other_pages_call_it_by(path: str, capsys: Capture) -> None:
    assert main(["docs", path]) == 0
    assert capsys.readouterr().out.startswith("# Runbook\n")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("runbook", "did you mean operations/runbook?"),
        ("operations/runbok", "did you mean operations/runbook?"),
        ("operations", "did you mean operations/README or operations/audit or operations/limits?"),
        ("row-security", "did you mean deploy/postgresql/row-security.sql"),
        ("../setup", "`chat-api docs` lists all"),
    ],
)
def test_an_unknown_page_is_told_with_the_closest_names(name: str, hint: str, capsys: Capture) -> None:
    assert main(["docs", name]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith(f"chat-api: there is no page '{name}'; {hint}")
