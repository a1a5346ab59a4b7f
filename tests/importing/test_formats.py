"""Each format becomes the same conversations, told apart by content, whatever the file is called."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.commands.test_user_command import forked
from tests.conftest import Client
from tests.support.auth_service import AuthService
from tests.support.queries import Connection, run

FILES = Path(__file__).parent / "files"

Bring = Callable[..., Awaitable[dict[str, Any]]]


async def conversations(client: Client, user: dict[str, str]) -> list[dict[str, Any]]:
    """The user's conversations with their messages, newest first."""
    listed = await (await client.get("/api/conversations?limit=200", headers=user)).json()
    return [
        await (await client.get(f"/api/conversations/{item['id']}", headers=user)).json()
        for item in listed["items"]
    ]


def shown(conversation: dict[str, Any]) -> list[tuple[str, str]]:
    """The active path: roles and texts."""
    return [(each["role"], each["content"]) for each in conversation["messages"]]


def versions(conversation: dict[str, Any]) -> list[tuple[int, int] | None]:
    """Which of how many versions each message of the active path is."""
    return [
        (each["siblings"]["index"], len(each["siblings"]["ids"])) if each["siblings"] else None
        for each in conversation["messages"]
    ]


async def other_version(
    client: Client, user: dict[str, str], conversation: dict[str, Any], number: int
) -> Any:
    """The conversation, when the other version of a message is shown."""
    message = conversation["messages"][number]
    (other,) = {*message["siblings"]["ids"]} - {message["id"]}
    path = f"/api/conversations/{conversation['id']}"
    response = await client.put(path, json={"active_message_id": other}, headers=user)
    assert response.status == 200, await response.text()
    return await (await client.get(path, headers=user)).json()


async def test_chatgpts_tree_is_taken_and_its_hidden_turns_are_not(
    client: Client, user: dict[str, str], bring: Bring
) -> None:
    report = await bring(FILES / "chatgpt.json")
    assert report == {
        "source": "chatgpt",
        "conversations": {"added": 1, "there": 0, "left_out": 1},
        "messages": {"added": 6, "left_out": 0},
        "problems": [
            {"conversation": "Masala chai", "why": "Pictures or files are named in their place: 2."},
            {"conversation": "Damaged there", "why": "It isn't a conversation in a form that is known here."},
        ],
        "more_problems": 0,
        "is_whole": True,
    }
    (chat,) = await conversations(client, user)
    assert shown(chat) == [
        ("user", "[picture: kettle.png]\n\nHow is masala chai made?\n\n[file: recipe.pdf]"),
        ("assistant", "```python\nprint(5)\n```\n\n```\n5\n```\n\nBoil it for five minutes."),
        ("user", "Thanks"),
        ("assistant", "You're welcome."),
    ]
    assert versions(chat) == [(1, 2), None, None, None]
    answer = chat["messages"][1]
    assert answer["reasoning"] == "Reading the picture\n\nIt shows a kettle.\n\nThought for 3 seconds"
    assert [each["model_tag"] for each in chat["messages"]] == ["", "o4-mini", "", "gpt-5-thinking"]
    assert (chat["title"], chat["model_tag"], chat["is_favorited"]) == ("Masala chai", "default", True)
    assert chat["created_at"] == "2025-06-15T15:06:40.123456+00:00"
    assert chat["updated_at"] == "2025-06-15T15:13:20.5+00:00"
    assert chat["messages"][0]["created_at"] == "2025-06-15T15:06:43+00:00"
    other = await other_version(client, user, chat, 0)
    assert shown(other) == [("user", "How is chai made?"), ("assistant", "With tea.")]


async def test_claudes_versions_artifacts_and_attachments_are_taken(
    client: Client, user: dict[str, str], bring: Bring
) -> None:
    report = await bring(FILES / "claude.json")
    assert (report["source"], report["conversations"]["added"], report["messages"]) == (
        "claude",
        2,
        {"added": 5, "left_out": 1},
    )
    assert {each["why"] for each in report["problems"]} == {
        "Pictures or files are named in their place: 1.",
        "Calls or outputs of tools were left out: 1.",
        "Messages without a text were left out: 1.",
    }
    poem, listed = await conversations(client, user)
    assert shown(poem) == [
        (
            "user",
            (
                "Write a poem about this.\n\n[file: notes.txt]\n````\nrain ```x``` tea\n````\n\n"
                "[picture: rain.png]"
            ),
        ),
        ("assistant", "Another poem."),
    ]
    assert versions(poem) == [None, (1, 2)]
    other = await other_version(client, user, poem, 1)
    assert shown(other)[1] == ("assistant", "Rain\n\n```\nRain on tea.\n```\n\nHere it is.")
    assert other["messages"][1]["reasoning"] == "Rain and tea."
    assert shown(listed) == [("user", "An older export"), ("assistant", "has a list.")]
    assert listed["title"] == "An older export"


async def test_open_webuis_answers_side_by_side_are_versions(
    client: Client, user: dict[str, str], bring: Bring
) -> None:
    report = await bring(FILES / "open_webui.json")
    assert (report["source"], report["conversations"]["added"], report["messages"]["added"]) == (
        "open_webui",
        2,
        6,
    )
    chat, early = await conversations(client, user)
    assert shown(chat) == [
        ("user", "What is 15 * 17?\n\n[picture: sum.png]"),
        ("assistant", "It is 255."),
        ("user", "Sure?"),
    ]
    assert (chat["messages"][1]["reasoning"], chat["messages"][1]["model_tag"]) == (
        "15 * 17 = 150 + 105",
        "deepseek-r1",
    )
    assert versions(chat) == [None, (0, 2), None]  # as its own page has them
    assert (chat["instructions"], chat["is_favorited"]) == ("You are a calculator.", True)
    assert shown(await other_version(client, user, chat, 1))[1] == ("assistant", "255.")
    assert shown(early) == [("user", "An early release\n\n[picture]"), ("assistant", "had a list.")]


async def test_librechats_list_and_its_nested_form_are_the_same(
    client: Client, user: dict[str, str], bring: Bring, tmp_path: Path
) -> None:
    given = json.loads((FILES / "librechat.json").read_text())
    report = await bring(FILES / "librechat.json")
    assert (report["source"], report["messages"]["added"]) == ("librechat", 5)
    assert {each["why"] for each in report["problems"]} == {
        "Pictures or files are named in their place: 1.",
        "Calls or outputs of tools were left out: 1.",
        "Messages that only tell of an error were left out: 1.",
    }
    (chat,) = await conversations(client, user)
    assert shown(chat) == [("user", "A short story\n\n[picture: rain.png]"), ("assistant", "It stopped.")]
    assert (chat["messages"][1]["reasoning"], chat["messages"][1]["model_tag"]) == ("Short.", "o3")
    assert versions(chat) == [(1, 2), None]
    assert chat["instructions"] == "You tell stories."
    assert chat["created_at"] == "2025-05-28T18:08:55.014+00:00"
    other = await other_version(client, user, chat, 0)
    assert shown(other) == [("user", "A long story"), ("assistant", "It rained.")]
    assert versions(other)[1] == (1, 2)
    by_id = {each["messageId"]: {**each, "children": []} for each in given["messages"]}
    roots = []
    for each in by_id.values():
        above = by_id.get(each.pop("parentMessageId"))
        (roots if above is None else above["children"]).append(each)
    nested = tmp_path / "conversations.zip"
    nested.write_text(json.dumps({**given, "conversationId": "nested", "recursive": True, "messages": roots}))
    report = await bring(nested)
    assert (report["conversations"]["added"], report["messages"]["added"]) == (1, 5)
    again = [each for each in await conversations(client, user) if each["id"] != chat["id"]]
    assert shown(again[0]) == shown(chat)


async def exported(sql: Connection, user_id: UUID) -> bytes:
    """The user's data, as `chat-api user export` writes it."""
    rows = await run(sql, "users.export", user_id=user_id, conversation_id=None, part=None)
    return "".join(f"{row['line']}\n" for row in rows).encode()


async def test_an_own_export_comes_back_once_and_for_another_user_as_well(
    client: Client, auth: AuthService, bring: Bring, sql: Connection
) -> None:
    chat = await forked(sql, uuid4())
    owner, other = auth.sign_in(chat.user_id), auth.sign_in()
    file = await exported(sql, chat.user_id)
    (before,) = await conversations(client, owner)
    records = file.count(b'"type":"generation"') + file.count(b'"type":"usage"')
    for headers, added, there in ((owner, 0, 1), (other, 1, 0), (other, 0, 1)):
        report = await bring(file, headers)
        assert report["conversations"] == {"added": added, "there": there, "left_out": 0}
        assert report["problems"] == [
            {
                "conversation": None,
                "why": f"{records} records of answers and of what was used are the operator's to bring back, "
                "and were left out.",
            }
        ]
    assert records > 0
    (copy,) = await conversations(client, other)
    assert copy["id"] != before["id"]
    assert (shown(copy), versions(copy)) == (shown(before), versions(before))
    for name in ("title", "model_tag", "created_at", "updated_at", "instructions", "options"):
        assert copy[name] == before[name], name
    for mine, theirs in zip(copy["messages"], before["messages"], strict=True):
        for name in ("finish_reason", "token_count", "created_at", "usage", "reasoning", "model_tag"):
            assert mine[name] == theirs[name], name
    # Deleted, it comes back, though not under the id that anybody might have by now.
    await sql.execute("delete from conversations where user_id = $1", chat.user_id)
    assert (await bring(file, owner))["conversations"]["added"] == 1
    (again,) = await conversations(client, owner)
    assert (again["id"] != before["id"], shown(again)) == (True, shown(before))


async def test_lines_of_a_later_release_are_skipped(bring: Bring) -> None:
    lines = [
        {"type": "export", "format": 3},
        {"type": "conversation", "id": str(uuid4()), "title": "One", "format": 3, "new": [1]},
        {"type": "end", "conversations": 1},
    ]
    report = await bring("\n".join(map(json.dumps, lines)).encode())
    assert (report["conversations"]["added"], report["problems"]) == (1, [])


@pytest.mark.parametrize("name", ["chatgpt", "claude", "open_webui", "librechat"])
async def test_twice_is_once(
    client: Client, user: dict[str, str], bring: Bring, sql: Connection, name: str
) -> None:
    first = await bring(FILES / f"{name}.json")
    stored = await sql.fetch(
        "select id, content from messages union all select id, content from inactive_messages"
    )
    again = await bring(FILES / f"{name}.json")
    assert again["conversations"] == {
        "added": 0,
        "there": first["conversations"]["added"],
        "left_out": first["conversations"]["left_out"],
    }
    assert again["messages"] == {"added": 0, "left_out": 0}
    assert stored == await sql.fetch(
        "select id, content from messages union all select id, content from inactive_messages"
    )
