"""The queries of sql/README.md about the tree of a conversation, as a DBA pastes them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from uuid import UUID

import pytest

from chat_api.dev.postgres.installation import binaries
from tests.support.queries import Chat, Connection

PLACEHOLDER = "00000000-0000-0000-0000-000000000002"


def asked(checkout: Path, database_url: str, words: str, about: UUID) -> list[list[str]]:
    """Run the README's command that has these words, about this conversation or message. Returns its rows."""
    text = (checkout / "sql" / "README.md").read_text()
    (command,) = [
        block for block in re.findall(r"```sh\n(psql [^`]*?<<'EOF'.*?)```", text, re.DOTALL) if words in block
    ]
    done = subprocess.run(
        ["sh", "-e", "-c", command.replace(PLACEHOLDER, str(about)).replace("psql ", "psql -XAt -F '|' ", 1)],
        check=True, capture_output=True, text=True, timeout=30,
        env={**os.environ, "PATH": f"{binaries(None)}:{os.environ['PATH']}", "DATABASE_URL": database_url},
    )  # fmt: skip
    assert done.stderr == ""
    return [line.split("|") for line in done.stdout.splitlines()]


@pytest.fixture
async def chat(sql: Connection) -> Chat:
    """Two questions, the second answer in two versions; then the first question is edited."""
    chat = await Chat().open(sql)
    await chat.finish(sql, await chat.begin(sql, content="tea?"), content="chai", model_tag="d20")
    for kind in ("send", "regenerate"):
        generation_id = await chat.begin(sql, content="milk?", kind=kind, options='{"top_k": 3}')
        await chat.finish(sql, generation_id, content=f"{kind}!", model_tag="d32")
    generation_id = await chat.begin(sql, content="coffee?", is_root=True)
    await chat.finish(sql, generation_id, status="failed", finish_reason="error", content="")
    await Chat().open(sql)
    return chat


async def test_the_whole_tree_of_a_conversation(
    checkout: Path, database_url: str, sql: Connection, chat: Chat
) -> None:
    rows = asked(checkout, database_url, "with recursive said", chat.id)
    assert [row[:3] for row in rows] == [
        ["", "user", "tea?"],
        ["", "  assistant", "chai"],
        ["", "    user", "milk?"],
        ["", "      assistant", "send!"],
        ["", "      assistant", "regenerate!"],
        ["*", "user", "coffee?"],
    ]
    stored = await sql.fetch("select id from messages union all select id from inactive_messages")
    assert {row[3] for row in rows} == {str(row["id"]) for row in stored}


async def test_the_versions_of_an_answer_and_what_each_was_made_with(
    checkout: Path, database_url: str, sql: Connection, chat: Chat
) -> None:
    for content in ("send!", "regenerate!"):  # each leads to both
        message = await sql.fetchval("select id from inactive_messages where content = $1", content)
        rows = asked(checkout, database_url, "own_message_id", message)
        assert [[row[0], row[2], *row[4:]] for row in rows] == [
            ["", "send!", "d32", "send", "completed", '{"top_k": 3}'],
            ["", "regenerate!", "d32", "regenerate", "completed", '{"top_k": 3}'],
        ]
    await chat.update(sql, active_message_id=message)
    rows = asked(checkout, database_url, "own_message_id", message)
    assert [[row[0], row[2]] for row in rows] == [["", "send!"], ["*", "regenerate!"]]


async def test_how_many_messages_are_off_the_path(checkout: Path, database_url: str, chat: Chat) -> None:
    assert asked(checkout, database_url, "off_the_path", chat.id) == [["5", "1"], [str(chat.id), "5", "29"]]
