"""`chat-api hold`: what the owner of the tables sets, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from chat_api.cli import main
from tests.support.queries import Chat, Connection

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `chat-api hold …` as the owner. Returns its exit status, and stdout and stderr together."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def run(*arguments: object) -> tuple[int, str]:
        status = main(["hold", *(str(each) for each in arguments)])
        written = capsys.readouterr()
        return status, written.out + written.err

    return run


async def held(sql: Connection, conversation: UUID) -> bool:
    found: bool = await sql.fetchval("select chat_is_held($1)", conversation)
    return found


async def test_a_conversation_is_held_until_the_hold_is_lifted(run: Run, sql: Connection) -> None:
    chat, other = await Chat().open(sql), await Chat().open(sql)
    today = await sql.fetchval("select to_char(now() at time zone 'UTC', 'YYYY-MM-DD')")
    status, said = run("set", "--conversation", chat.id, "--reason", "file 17/2026", "--by", "M. Rai")
    line = f"conversation {chat.id} since {today} by M. Rai: file 17/2026\n"
    assert (status, said) == (0, f"set: {line}")
    assert (await held(sql, chat.id), await held(sql, other.id)) == (True, False)
    assert run("list") == (0, line)
    assert run("lift", "--conversation", other.id) == (
        1,
        f"chat-api: there is no hold on {other.id}: `chat-api hold list` lists them\n",
    )
    assert run("list") == (0, line)
    assert run("lift", "--conversation", chat.id) == (0, f"lifted: {line}")
    assert not await held(sql, chat.id)
    assert run("list") == (0, "there are no holds\n")


async def test_all_of_a_user_is_held_by_the_role_if_nobody_is_named(run: Run, sql: Connection) -> None:
    user_id = uuid4()
    chats = [await Chat(user_id=user_id).open(sql) for _ in range(2)]
    status, said = run("set", "--user", user_id, "--reason", "file 18", "--json")
    assert status == 0
    assert json.loads(said) | {"id": "", "since": ""} == {
        "id": "", "user_id": str(user_id), "conversation_id": None, "since": "", "reason": "file 18",
        "held_by": await sql.fetchval("select current_user"), "conversations": 2,
    }  # fmt: skip
    assert [await held(sql, chat.id) for chat in chats] == [True, True]
    (hold,) = json.loads(run("list", "--json")[1])
    assert hold["user_id"] == str(user_id)
    assert run("set", "--user", uuid4(), "--reason", "r")[1].endswith("r, which keeps 0 conversations now\n")
    assert run("lift", "--user", user_id)[0] == 0
    assert [await held(sql, chat.id) for chat in chats] == [False, False]


async def test_a_second_hold_on_the_same_changes_nothing_and_names_the_first(
    run: Run, sql: Connection
) -> None:
    for option in ("--conversation", "--user"):
        subject = uuid4()
        assert run("set", option, subject, "--reason", "file 1")[0] == 0
        status, said = run("set", option, subject, "--reason", "file 2")
        assert status == 1
        assert said.startswith("chat-api: there is a hold already: ")
        assert f"{subject} since " in said
        assert said.endswith(": file 1: lift that hold first\n")
    assert await sql.fetchval("select array_agg(distinct reason) from legal_hold") == ["file 1"]


def test_a_conversation_that_is_not_there_is_held_and_said_to_be_absent(run: Run) -> None:
    status, said = run("set", "--conversation", uuid4(), "--reason", "before an import")
    assert status == 0
    assert said.endswith(": before an import, which isn't there now\n")


async def test_the_services_role_sees_holds_and_is_told_who_sets_and_lifts_them(
    run: Run, sql: Connection, service_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = uuid4()
    assert run("set", "--user", user_id, "--reason", "file 17")[0] == 0
    monkeypatch.setenv("DATABASE_URL", service_url)
    assert run("list")[0] == 0
    owner = await sql.fetchval("select current_user")
    for action in (["set", "--user", uuid4(), "--reason", "r"], ["lift", "--user", user_id]):
        status, said = run(*action)
        assert status == 1
        assert said.startswith(
            f"chat-api: only the owner of the tables, {owner}, sets and lifts holds, and this is service_"
        )
        assert said.endswith(": use the owner's DATABASE_URL\n")
    assert await sql.fetchval("select count(*) from legal_hold") == 1


async def test_without_the_table_it_says_what_to_do(run: Run, sql: Connection) -> None:
    await sql.execute("drop table legal_hold")
    for action in (["list"], ["lift", "--user", uuid4()], ["set", "--user", uuid4(), "--reason", "r"]):
        status, said = run(*action)
        assert status == 1
        assert said.startswith("chat-api: there is no table legal_hold here, or this role can't see it: run ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["set", "--reason", "r"],
        ["set", "--user", str(uuid4())],
        ["set", "--user", "me", "--reason", "r"],
        ["set", "--user", str(uuid4()), "--conversation", str(uuid4()), "--reason", "r"],
        ["set", "--user", str(uuid4()), "--reason", " "],
        ["set", "--user", str(uuid4()), "--reason", "two\nlines"],
        ["lift"],
        ["lift", "--user", str(uuid4()), "--conversation", str(uuid4())],
    ],
)
def test_a_wrong_usage_ends_with_two(arguments: list[str], run: Run) -> None:
    with pytest.raises(SystemExit) as end:
        run(*arguments)
    assert end.value.code == 2
