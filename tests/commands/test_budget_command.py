"""`chat-api budget` and its arguments. tests/docs/test_usage_page.py runs the page's examples."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chat_api.cli import main
from tests.support.queries import Connection

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `chat-api budget …`. Returns its exit status, and stdout and stderr."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def run(*arguments: str) -> tuple[int, str]:
        try:
            status = main(["budget", *arguments])
        except SystemExit as ended:
            status = int(ended.code or 0)
        written = capsys.readouterr()
        return status, written.out + written.err

    return run


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--model", "", "--answers", "5"], "'': give a tag of MODELS_FILE, of 1 to 100 characters"),
        (["--model", "m" * 101, "--answers", "5"], "give a tag of MODELS_FILE, of 1 to 100 characters"),
        (["--model", "a\nb", "--answers", "5"], "give a tag of MODELS_FILE, of 1 to 100 characters"),
        (["--answers", "1.5"], "'1.5': give a whole number such as 100000, or unlimited"),
        (["--tokens", "1e6"], "'1e6': give a whole number such as 100000, or unlimited"),
        (["--cost", "1e6", "--currency", "EUR"], "'1e6': give a number such as 100000, or unlimited"),
        (["--answers", "5", "--currency", "EUR"], "--cost needs --currency, and nothing else does"),
        (["--answers", "unlimited"], "`unlimited` needs --user: otherwise, remove the budget"),
    ],
)
async def test_what_cannot_be_a_budget_is_refused_and_changes_nothing(
    run: Run, sql: Connection, arguments: list[str], problem: str
) -> None:
    status, text = run("set", "--everybody", "--period", "day", *arguments)
    assert status == 2
    assert problem in text
    assert await sql.fetchval("select count(*) from budgets") == 0


async def test_one_of_a_model_and_one_of_all_models_are_two(run: Run, sql: Connection) -> None:
    for model in ([], ["--model", "qwen"], []):
        assert run("set", "--everybody", "--period", "day", "--answers", "5", *model)[0] == 0
    rows = await sql.fetch("select model_tag from budgets order by model_tag")
    assert [row["model_tag"] for row in rows] == ["qwen", None]
    with pytest.raises(Exception, match="ck_budgets_model"):
        await sql.execute("update budgets set model_tag = '' where model_tag = 'qwen'")
