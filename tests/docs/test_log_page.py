"""docs/operations/logs.md describes the lines that the code writes."""

from __future__ import annotations

import ast
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chat_api.generation.outcome import Summary
from chat_api.settings import Settings
from tests.docs.page import names, table
from tests.support.model_server import ModelServer
from tests.support.service import Service, environment

PACKAGE = Path(__file__).parents[2] / "chat_api"
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
EVERY_LINE = {"event", "level", "timestamp", "logger", "service"}
BOUND = {"trace_id", "otel_trace_id", "user_id"}  # bound by the request
TYPES = {"string": str, "integer": int, "number": (int, float), "list": list, "null": type(None)}

Event = tuple[str, str]


def written() -> Iterator[tuple[Event, set[str]]]:
    """For each place that logs a line: the event and its level, and the fields."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log" | "logger"), attr=level),
                    args=[ast.Constant(value=str(event))],
                ) if level in LEVELS:
                    yield (event, "error" if level == "exception" else level), _fields(node, level)
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "logger"), attr=level)):
                    assert level not in LEVELS, (
                        f"{path}: an event's name is a plain text: {ast.unparse(node)}"
                    )


def _fields(call: ast.Call, level: str) -> set[str]:
    fields = {"exception"} if level == "exception" else set()
    for keyword in call.keywords:
        if keyword.arg is None:
            assert ast.unparse(keyword.value) == "asdict(self.summary)"
            fields |= {field.name for field in dataclasses.fields(Summary)}
        else:
            fields.add("exception" if keyword.arg == "exc_info" else keyword.arg)
    return fields


@pytest.fixture(scope="module")
def code() -> dict[Event, set[str]]:
    """The events in the code, with all the fields that they may have."""
    found: dict[Event, set[str]] = {}
    for event, fields in written():
        found.setdefault(event, set()).update(fields)
    return found


def test_the_page_has_every_event_with_its_level_and_fields(code: dict[Event, set[str]]) -> None:
    page = {
        (names(event)[0], level): set(names(fields)) for event, level, fields, _ in table("logs.md", "Events")
    }
    assert page == code


def test_the_page_explains_every_field(code: dict[Event, set[str]]) -> None:
    page = [names(field)[0] for field, *_ in table("logs.md", "Fields")]
    assert sorted(page) == sorted(EVERY_LINE | BOUND | set().union(*code.values()))


def test_every_event_and_field_is_named_as_the_standard_says(code: dict[Event, set[str]]) -> None:
    fields = {names(field)[0]: kind for field, kind, _ in table("logs.md", "Fields")}
    for name in [*fields, *(event for event, _ in code)]:
        assert name.isascii()
        assert name.replace("_", "a").isalpha()
        assert name == name.lower()
    counts = {
        "status",
        "exit_status",
        "close_code",
        "token_count",
        "tries",
        "workers",
        "pid",
        "conversations",
        "days",
        "lines",
        "events",
        "characters",
        "context_tokens",
    }
    numbers = {name for name, kind in fields.items() if "integer" in kind or "number" in kind}
    assert {name for name in numbers - counts if not name.endswith(("_ms", "_seconds", "_bytes"))} == set()
    assert {name for name in fields if name.endswith(("_ms", "_seconds", "_bytes"))} <= numbers


def test_nobody_writes_lines_by_another_way() -> None:
    for path in PACKAGE.rglob("*.py"):
        # The development stack writes for a person, and yoyo is only silenced.
        place = path.relative_to(PACKAGE)
        if place.parts[0] == "dev" or place.as_posix() in ("observe/logs.py", "libraries/yoyo.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "logging.getLogger", "warnings.warn"), path


async def test_real_lines_have_the_fields_and_types_of_the_page(
    settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    fields = {
        names(field)[0]: tuple(TYPES[each] for each in kind.split(" or "))
        for field, kind, _ in table("logs.md", "Fields")
    }
    events = {names(event)[0] for event, *_ in table("logs.md", "Events")}
    model.say = ["a", "b"]
    async with Service(environment(settings)) as service:
        await service.ready()
        async with service.http.post("/api/conversations", json={}, headers=user) as response:
            path = f"/api/conversations/{(await response.json())['id']}/messages"
        for refuse in (None, (500, "no")):
            model.refuse = refuse
            async with service.http.post(
                path, json={"content": "a", "stream": False}, headers=user
            ) as response:
                await response.read()
        assert await service.end() == 0
        lines = [line for line in service.lines if line["logger"].startswith("chat_api.")]
    assert {"request", "generation_ended", "inference_refused", "draining"} <= {
        line["event"] for line in lines
    }
    for line in lines:
        assert line["event"] in events
        _check(line, fields)


def _check(line: dict[str, Any], fields: dict[str, tuple[Any, ...]]) -> None:
    for name, value in line.items():
        assert name in fields, line
        assert any(isinstance(value, kind) for kind in fields[name]), (name, value)


CRASH = """
from chat_api.observe.logs import configure_logging
from chat_api.settings import Settings
import warnings
configure_logging(Settings(_env_file=None, log_format="json"))
warnings.warn("careful\\nnow", stacklevel=1)
raise RuntimeError("two\\nlines")
"""


def test_a_crash_and_a_warning_are_one_line_each(checkout: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", CRASH],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    warning, crash = (json.loads(line) for line in done.stderr.splitlines())
    assert warning["logger"] == "py.warnings"
    assert "careful\nnow" in warning["event"]
    assert (crash["event"], crash["level"]) == ("crashed", "critical")
    assert crash["exception"].startswith("Traceback")
    assert crash["exception"].endswith("RuntimeError: two\nlines")
