"""The Dockerfile, read as a builder would read it, because building needs a container engine."""

import json
import re
from fnmatch import fnmatchcase
from typing import NamedTuple

import pytest

from tests.packaging.tree import ROOT


class Instruction(NamedTuple):
    keyword: str
    rest: str


def stages() -> list[list[Instruction]]:
    """Each stage's instructions, beginning with its FROM."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = (line for line in text.replace("\\\n", " ").splitlines() if line.strip())
    instructions = [Instruction(*line.split(maxsplit=1)) for line in lines]
    starts = [number for number, each in enumerate(instructions) if each.keyword == "FROM"]
    return [instructions[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


def last(keyword: str) -> str:
    return [each.rest for each in stages()[-1] if each.keyword == keyword][-1]


def in_context(path: str) -> bool:
    """Whether .dockerignore lets a path through. The last line that matches it or its folder decides."""
    through = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        parents = [path, *(str(parent) for parent in (ROOT / path).relative_to(ROOT).parents)][:-1]
        names = {*parents, *path.split("/")} if "**/" in line else set(parents)
        if any(fnmatchcase(name, pattern) for name in names):
            through = line.startswith("!")
    return through


def test_everything_copied_exists_and_reaches_the_builder() -> None:
    copied = [each.rest.split()[:-1] for stage in stages() for each in stage if each.keyword == "COPY"]
    sources = [name for names in copied for name in names if not names[0].startswith("--from=")]
    assert {"chat_api", "sql", "migrations", "constraints.txt"} <= set(sources)
    for name in sources:
        assert (ROOT / name).exists(), name
        assert in_context(name), name


@pytest.mark.parametrize(
    "path", [".env", ".git", ".chat-api/secret", "tests", ".venv", "chat_api/__pycache__/cli.cpython-313.pyc"]
)
def test_no_secret_history_or_leftover_reaches_the_builder(path: str) -> None:
    assert not in_context(path)


def test_last_stage_takes_over_the_environment_alone() -> None:
    build, final = stages()
    assert [each.rest for each in final if each.keyword == "COPY"] == [
        "--from=build /opt/chat-api /opt/chat-api"
    ]
    assert not [each for each in final if each.keyword in ("ADD", "RUN")]
    # The environment's links name the interpreter, so it must be at the same path in both stages.
    assert build[0].rest.removesuffix(" AS build") == final[0].rest


def test_image_runs_the_server_as_a_numbered_user_who_is_not_root() -> None:
    user, _, group = last("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert json.loads(last("ENTRYPOINT")) == ["chat-api"]
    assert json.loads(last("CMD")) == ["serve", "--host", "0.0.0.0"]
    assert last("EXPOSE") == "8002"
    assert last("STOPSIGNAL") == "SIGTERM"


def test_health_check_is_a_program_that_compiles_and_asks_the_exposed_port() -> None:
    options, command = last("HEALTHCHECK").split("CMD", maxsplit=1)
    assert "--start-period=" in options
    python, _, program = json.loads(command)
    assert python == "python"
    compile(program, "HEALTHCHECK", "exec")
    assert "'127.0.0.1', 8002" in program
    assert "os.environ.get('BASE_PATH', '').rstrip('/') + '/api/health'" in program
