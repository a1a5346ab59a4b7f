"""How `chat-api budget` says what a budget allows."""

from __future__ import annotations

import pytest

from chat_api.cli import main


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        (("--answers", "1"), "1 answer a day"),
        (("--answers", "2"), "2 answers a day"),
        (("--tokens", "1"), "1 token a day"),
        (("--cost", "1", "--currency", "EUR"), "1 EUR a day"),
    ],
)
def test_one_of_a_kind_is_told_as_one(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
    amount: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert main(["budget", "set", "--each", "--period", "day", *amount]) == 0
    assert capsys.readouterr().out == f"set: each user: {told}\n"
    assert main(["budget", "list"]) == 0
    assert told in capsys.readouterr().out
