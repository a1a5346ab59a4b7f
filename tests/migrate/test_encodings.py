"""A database that can't hold what users write is refused before the first step."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from chat_api.cli import main
from chat_api.dev.postgres.server import Postgres
from chat_api.settings import Settings
from tests.support.processes import Service


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def other(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[tuple[str, str]]:
    """A database with another encoding: its address and the encoding."""
    name = f"encoded_{request.param.lower()}"
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(
            f"create database {name} encoding '{request.param}' template template0"
            " locale_provider libc locale 'C'"
        )
        yield postgres.dsn(name), request.param
        admin.execute(f"drop database {name} with (force)")


@pytest.mark.parametrize("command", [["migrate"], ["migrate", "status"], ["sql", "check"]])
def test_commands_refuse_it_in_one_sentence(
    other: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    url, encoding = other
    monkeypatch.setenv("DATABASE_URL", url)
    assert main(command) == 1
    said = capsys.readouterr().err.strip()
    assert f"encoding is {encoding}, and must be UTF8" in said
    assert "\n" not in said
    with psycopg.connect(url) as connection:
        assert connection.execute("select relname from pg_class where relname like '%yoyo%'").fetchall() == []


async def test_serve_refuses_it_too(
    other: tuple[str, str], settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    url, encoding = other
    service = Service(settings.model_copy(update={"database_url": url}))
    await service.launch()
    async with asyncio.timeout(20):
        assert await service.ended() == 1
    await service.__aexit__()
    assert f"chat-api: the database's encoding is {encoding}, and must be UTF8" in capfd.readouterr().err
