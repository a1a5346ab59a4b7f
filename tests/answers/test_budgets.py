"""Conversations that outgrow the model's context, and questions that the model server refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, open_chat
from tests.support.model_server import ModelServer
from tests.support.picky_server import PickyServer
from tests.support.reader import read_events


@pytest.fixture
async def picky() -> AsyncIterator[PickyServer]:
    async with PickyServer() as server:
        yield server


@pytest.fixture
async def chat(start: Start, settings: Settings, user: dict[str, str], picky: PickyServer) -> Chat:
    """A conversation with a model server of the OpenAI protocol, with the settings' defaults."""
    changes = {"inference_protocol": "openai", "inference_service_url": f"{picky.url}/v1"}
    return await open_chat(await start(settings.model_copy(update=changes)), user)


async def events(chat: Chat, content: str) -> list[dict[str, Any]]:
    """Send a message and read its events."""
    return [event.data for event in await read_events(await chat.send(content))]


def told(seen: list[dict[str, Any]]) -> tuple[int, int]:
    return seen[0]["history"]["sent"], seen[0]["history"]["left_out"]


def contents(asked: dict[str, Any]) -> list[str]:
    return [message["content"] for message in asked["messages"]]


def refuse_bytes(picky: PickyServer, most: int) -> None:
    """A context of so many bytes; the server says nothing of it before."""

    def refuse(asked: dict[str, Any]) -> tuple[int, Any] | None:
        size = sum(len(text.encode()) for text in contents(asked))
        message = f"This model's maximum context length is {most // 3} tokens."
        error = {"message": message, "code": "context_length_exceeded", "param": "messages"}
        return (400, {"error": error}) if size > most else None

    picky.refuse = refuse


class TestRefusedQuestions:
    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, {"message": "no"}),
            (422, {"message": "no", "param": "messages[2].content"}),
            (451, {"message": "no"}),
            (400, {"message": "filtered", "param": "prompt", "code": "content_filter"}),  # Azure
            (403, {"message": "Your chosen model requires moderation", "code": 403}),  # OpenRouter
        ],
        ids=str,
    )
    async def test_are_told_as_such_and_not_sent_again(
        self, chat: Chat, picky: PickyServer, status: int, error: dict[str, Any]
    ) -> None:
        picky.refuse = lambda asked: (
            (status, {"error": error}) if "FORBIDDEN" in "".join(contents(asked)) else None
        )
        await events(chat, "hello")
        _, told, done = await events(chat, "a FORBIDDEN word")
        assert told["error"] == "inference_rejected"
        assert f"refused this message (HTTP {status})" in told["detail"]
        assert "isn't sent again" in told["detail"]
        assert done["done"]
        for content in ("how is tea made?", "and coffee?"):
            assert [event.get("token") for event in await events(chat, content)] == [None, "ok", None]
        assert contents(picky.requests[-1]) == ["hello", "ok", "how is tea made?", "ok", "and coffee?"]
        whole = await chat.send("a FORBIDDEN word", stream=False)
        assert (whole.status, (await whole.json())["detail"]) == (502, told["detail"])

    async def test_in_hindi_that_fill_the_context_end_no_conversation(
        self, chat: Chat, picky: PickyServer
    ) -> None:
        """A context of 2,048 tokens of three bytes, and questions of 1,250."""
        refuse_bytes(picky, 3 * 2048)
        question = "चाय कैसे बनती है " * 70 + "?" * 60
        for _ in range(3):
            assert (await events(chat, question[:1250]))[1]["token"] == "ok"
        assert (await events(chat, "ok?"))[1]["token"] == "ok"
        assert contents(picky.requests[-1])[-1] == "ok?"

    async def test_refused_within_a_200_are_tried_with_less_history(
        self, chat: Chat, picky: PickyServer
    ) -> None:
        for place in range(4):
            await events(chat, f"{place}" * 1000)
        overflow = b'data: {"error":{"code":400,"message":"exceeds the available context size"}}\n\n'
        picky.refuse = lambda asked: (200, overflow) if len(asked["messages"]) > 5 else None
        assert (await events(chat, "and?"))[1]["token"] == "ok"
        assert len(picky.requests[-1]["messages"]) in (3, 5)

    async def test_that_are_too_long_by_themselves_are_told_so(self, chat: Chat, picky: PickyServer) -> None:
        refuse_bytes(picky, 3 * 2048)
        await events(chat, "hello")
        _, error, _ = await events(chat, "च" * 8000)
        assert error["error"] == "conversation_too_long"
        assert "too long for this model" in error["detail"]
        assert (await chat.get())["unanswered"]["error"] == "conversation_too_long"
        assert (await events(chat, "ok?"))[1]["token"] == "ok"
        assert contents(picky.requests[-1]) == ["hello", "ok", "ok?"]

    async def test_of_a_server_that_takes_nothing_for_a_while_end_no_conversation(
        self, chat: Chat, picky: PickyServer
    ) -> None:
        for place in range(4):
            await events(chat, f"{place}" * 1000)
        picky.refuse = lambda _: (413, "")
        assert (await events(chat, "and?"))[1]["error"] == "conversation_too_long"
        picky.refuse = lambda _: None
        assert (await events(chat, "ok?"))[1]["token"] == "ok"


class TestWhatFits:
    async def test_the_longest_message_and_its_answer_fit_the_next_call(
        self, chat: Chat, picky: PickyServer
    ) -> None:
        assert told(await events(chat, "x" * 8000)) == (1, 0)
        assert told(await events(chat, "short one")) == (3, 0)
        assert contents(picky.requests[-1]) == ["x" * 8000, "ok", "short one"]

    async def test_emoji_count_as_characters(self, chat: Chat, picky: PickyServer) -> None:
        await events(chat, "👩‍👩‍👧‍👦🥟" * 1000)
        assert told(await events(chat, "🥟" * 8000)) == (3, 0)
        assert contents(picky.requests[-1])[0] == "👩‍👩‍👧‍👦🥟" * 1000

    async def test_what_doesnt_fit_is_told(self, chat: Chat, picky: PickyServer) -> None:
        """Each answer has two characters, so three of the longest messages fit, not four. One is enough."""
        for _ in range(3):
            await events(chat, "x" * 8000)
        sent, left_out = told(await events(chat, "y" * 8000))
        assert (sent, left_out) in ((5, 2), (3, 4))
        assert contents(picky.requests[-1])[-3:] == ["x" * 8000, "ok", "y" * 8000]

    async def test_a_context_that_the_server_tells_is_kept_to(self, chat: Chat, picky: PickyServer) -> None:
        picky.models = [{"id": "tiny", "max_model_len": 3072}]  # room for 5,529 characters
        firsts = []
        for place in range(40):
            seen = await events(chat, f"{place:04} " + "x" * 495)
            asked = contents(picky.requests[-1])
            assert sum(map(len, asked)) <= 5529
            assert told(seen) == (len(asked), 2 * place + 1 - len(asked))
            firsts.append(asked[0])
        assert len(set(firsts[10:])) <= 15  # of 30: the beginning stays the same for two answers or more

    async def test_more_messages_than_are_ever_sent_are_told(
        self, start: Start, settings: Settings, user: dict[str, str], picky: PickyServer
    ) -> None:
        changes = {
            "inference_protocol": "openai",
            "inference_service_url": f"{picky.url}/v1",
            "max_conversation_history": 10,
        }
        chat = await open_chat(await start(settings.model_copy(update=changes)), user)
        for place in range(40):
            sent, left_out = told(await events(chat, f"{place}"))
            assert sent + left_out == 2 * place + 1
            assert sent <= 10
            assert sent >= min(5, 2 * place + 1)
            assert contents(picky.requests[-1])[-1] == f"{place}"
        seen = [event.data for event in await read_events(await chat.regenerate())]
        assert sum(told(seen)) == 79

    async def test_one_huge_answer_is_left_out(
        self, start: Start, settings: Settings, user: dict[str, str], model: ModelServer
    ) -> None:
        """Of the nanochat protocol, whose budget is MAX_TOKEN_BUDGET."""
        chat = await open_chat(await start(settings), user)
        model.say = ["x" * 6000]
        assert told(await events(chat, "1")) == (1, 0)
        model.say = ["ok"]
        assert told(await events(chat, "short one")) == (1, 2)
        assert told(await events(chat, "and?")) == (3, 2)

    async def test_nanochat_keeps_its_budget_and_tells(
        self, start: Start, settings: Settings, user: dict[str, str], model: ModelServer
    ) -> None:
        chat = await open_chat(await start(settings), user)
        model.say = ["ok"]
        await events(chat, "x" * 8000)
        assert told(await events(chat, "short one")) == (1, 2)
        assert contents(model.requests[-1].request) == ["short one"]
