"""docs/models.md: its tables have every key with its default, and its example is one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from chat_api.commands.models.report import HEADINGS
from chat_api.settings import Settings
from chat_api.settings.models import Model, Price, Server, Thinking, load_catalogue

TABLES: list[tuple[str, type[BaseModel]]] = [
    ("## Keys of `[servers.NAME]`", Server),
    ("## Keys of `[models.TAG]`", Model),
    ("| Key of `thinking` |", Thinking),
    ("| Key of `price` |", Price),
]


@pytest.fixture
def page(checkout: Path) -> str:
    """The page."""
    return (checkout / "docs" / "models.md").read_text()


def default_of(field: FieldInfo) -> str:
    """A key's default, as TOML has it; "" if it must be given, or if something else counts in its absence."""
    value: Any = None if field.is_required() else field.get_default(call_default_factory=True)
    if value is None or isinstance(value, SecretStr | BaseModel):
        return ""
    return f"`{json.dumps(value)}`"


@pytest.mark.parametrize(("heading", "table"), TABLES)
def test_a_table_has_every_key_with_its_default(page: str, heading: str, table: type[BaseModel]) -> None:
    rows = re.search(r"^\|[-|]+\|\n((?:\|.*\n)+)", page.partition(f"\n{heading}")[2], re.MULTILINE)
    assert rows is not None
    shown = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[1].splitlines()]
    assert all(len(row) == 3 and row[2] for row in shown)
    assert [row[:2] for row in shown] == [
        [f"`{field.alias or name}`", default_of(field)] for name, field in table.model_fields.items()
    ]


def test_its_example_is_one(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert example is not None
    path = tmp_path / "models.toml"
    path.write_text(example[1])
    for variable in re.findall(r'^key = "(\w+)"', example[1], re.MULTILINE):
        monkeypatch.setenv(variable, "the-key")
    catalogue = load_catalogue(Settings(_env_file=None, models_file=str(path)))
    assert (catalogue.default, list(catalogue.models)) == ("default", ["default", "coder"])


def test_the_checks_output_has_the_commands_columns(page: str) -> None:
    heading = page.partition("$ chat-api models check\n")[2].partition("\n")[0]
    assert tuple(re.split(r" {2,}", heading)) == HEADINGS
