"""Which messages of a conversation the model is sent."""

from __future__ import annotations

import pytest

from chat_api.bodies import Regenerate
from chat_api.generation import prompt
from chat_api.generation.history import History, Message
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Sql, open_chat
from tests.support.endpoints import chosen
from tests.support.model_server import ModelServer


async def sent(chat: Chat, model: ModelServer, content: str) -> list[tuple[str, str]]:
    """Send a message, answer it with "ok", and return the turns that the model got."""
    response = await chat.send(content)
    call = await model.call()
    call.finish("ok")
    await response.read()
    return [(turn["role"], turn["content"]) for turn in call.request["messages"]]


@pytest.mark.parametrize(
    ("budget", "first"),
    [
        ({"max_conversation_history": 1}, "3"),
        ({"max_conversation_history": 2}, "3"),  # an answer can't come first
        ({"max_conversation_history": 3}, "2"),
        ({"max_conversation_history": 5}, "1"),
        ({"max_token_budget": 1}, "3"),
        ({"max_token_budget": 3}, "3"),
        ({"max_token_budget": 4}, "2"),
        ({"max_token_budget": 7}, "1"),
        ({"max_token_budget": 6}, "2"),
    ],
    ids=str,
)
async def test_the_newest_messages_within_both_budgets_are_sent(
    start: Start,
    settings: Settings,
    user: dict[str, str],
    model: ModelServer,
    budget: dict[str, int],
    first: str,
) -> None:
    chat = await open_chat(await start(settings.model_copy(update=budget)), user)
    for content in "12":
        await sent(chat, model, content)
    turns = await sent(chat, model, "3")
    whole = [("user", "1"), ("assistant", "ok"), ("user", "2"), ("assistant", "ok"), ("user", "3")]
    assert turns == whole[whole.index(("user", first)) :]


async def test_the_newest_message_is_sent_however_long(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    chat = await open_chat(await start(settings.model_copy(update={"max_token_budget": 10})), user)
    await sent(chat, model, "1")
    assert await sent(chat, model, "x" * 8000) == [("user", "x" * 8000)]


async def test_the_budget_counts_characters_not_bytes(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    chat = await open_chat(await start(settings.model_copy(update={"max_token_budget": 6})), user)
    await sent(chat, model, "🥟é")
    assert [role for role, _ in await sent(chat, model, "𝕏!")] == ["user", "assistant", "user"]  # noqa: RUF001


async def test_roles_alternate_after_turns_that_failed(chat: Chat, model: ModelServer) -> None:
    await sent(chat, model, "1")
    model.refuse = (500, "")
    for content in "23":
        await (await chat.send(content)).read()
        await model.call()
    model.refuse = None
    assert await sent(chat, model, "4") == [("user", "1"), ("assistant", "ok"), ("user", "2\n\n3\n\n4")]


async def test_an_interrupted_answer_stays_in_the_history(chat: Chat, model: ModelServer) -> None:
    response, call, _ = await chat.begin(model, "half")
    call.cut()
    await response.read()
    assert await sent(chat, model, "2") == [("user", "Hi"), ("assistant", "half"), ("user", "2")]


async def test_what_an_adopted_database_holds_is_mended(chat: Chat, model: ModelServer, sql: Sql) -> None:
    """Empty turns, answers in a row, a leading answer, a system message."""
    for minute, (role, content) in enumerate(
        [
            ("assistant", "Welcome"),
            ("system", "Be kind."),
            ("user", "1"),
            ("assistant", ""),
            ("assistant", "one"),
            ("assistant", "more"),
            ("user", ""),
        ]
    ):
        await sql.execute(
            "insert into messages (conversation_id, role, content, created_at)"
            " select id, $1, $2, now() - interval '1 hour' + make_interval(mins => $3) from conversations",
            role,
            content,
            minute,
        )
    assert await sent(chat, model, "2") == [
        ("user", "Be kind.\n\n1"),
        ("assistant", "one\n\nmore"),
        ("user", "2"),
    ]


def test_options_given_win_over_the_settings(settings: Settings) -> None:
    history = History([Message("user", "Hi", None, None, None)], 0)
    given = prompt.build(
        history, chosen(settings), Regenerate(temperature=0, max_tokens=1, top_k=0), settings
    ).options
    assert (given.temperature, given.max_tokens, given.top_k) == (0, 1, 0)
    left = prompt.build(history, chosen(settings), Regenerate(), settings).options
    assert (left.temperature, left.max_tokens, left.top_k) == (0.8, 1024, None)
