"""A conversation is a tree: edited questions, versions of answers, and which of them are shown."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientResponse

from chat_api import errors
from chat_api.generation import start as starts
from chat_api.relay.notices import Notices
from chat_api.relay.watch import Watch
from tests.conftest import Start
from tests.support.auth_service import AuthService
from tests.support.chat import Chat, Client, Sql, no_answer_lives, open_chat, somebody_waits
from tests.support.model_server import Call, ModelServer
from tests.support.reader import read_events, text_of
from tests.support.tab import open_tab, words


@dataclass(frozen=True)
class Said:
    """A question with its answer: their ids, and what the model was sent."""

    question: str
    answer: str
    sent: list[str]


async def read(response: ClientResponse, model: ModelServer, answer: str) -> Said:
    """Let the model answer, and read it."""
    assert response.status == 200, await response.text()
    call = await model.call()
    call.finish(answer)
    seen = await read_events(response)
    sent = [turn["content"] for turn in call.request["messages"]]
    return Said(seen[0].data["user_message_id"], seen[-1].data["message_id"], sent)


async def ask(chat: Chat, model: ModelServer, question: str, answer: str, **options: Any) -> Said:
    return await read(await chat.send(question, **options), model, answer)


async def again(chat: Chat, model: ModelServer, answer: str, **options: Any) -> Said:
    return await read(await chat.regenerate(**options), model, answer)


async def path(chat: Chat) -> list[str]:
    """The texts that are shown."""
    return [content for _, content, _ in await chat.messages()]


async def versions(chat: Chat) -> list[tuple[int, int] | None]:
    """Of each message that is shown: which version it is, of how many. Checks the parents on the way."""
    found: list[tuple[int, int] | None] = []
    parent_id = None
    for message in (await chat.get())["messages"]:
        assert message["parent_id"] == parent_id
        parent_id = message["id"]
        siblings = message["siblings"]
        if siblings is not None:
            assert siblings["ids"][siblings["index"]] == message["id"]
        found.append(siblings and (siblings["index"], len(siblings["ids"])))
    return found


async def refusal(response: ClientResponse) -> tuple[int, str]:
    """Its status and its code."""
    return response.status, (await response.json())["code"]


@pytest.fixture
async def two(chat: Chat, model: ModelServer) -> tuple[Said, Said]:
    """Two questions with their answers: A, a, B, b."""
    return await ask(chat, model, "A", "a"), await ask(chat, model, "B", "b")


class TestAnEdit:
    async def test_goes_beside_what_was_said_and_overwrites_nothing(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        one, other = two
        edited = await ask(chat, model, "B2", "b2", parent_id=one.answer)
        assert edited.sent == ["A", "a", "B2"]
        assert await path(chat) == ["A", "a", "B2", "b2"]
        assert await versions(chat) == [None, None, (1, 2), None]
        messages = (await chat.get())["messages"]
        assert messages[2]["siblings"]["ids"] == [other.question, edited.question]
        await chat.show(other.question)
        assert await path(chat) == ["A", "a", "B", "b"]
        assert await versions(chat) == [None, None, (0, 2), None]

    async def test_of_the_first_message_begins_the_conversation(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        edited = await ask(chat, model, "A2", "a2", parent_id=None)
        assert edited.sent == ["A2"]
        assert await path(chat) == ["A2", "a2"]
        assert await versions(chat) == [(1, 2), None]
        await chat.show(two[0].question)
        assert await path(chat) == ["A", "a", "B", "b"]

    async def test_without_a_place_a_message_comes_last(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        third = await ask(chat, model, "C", "c")
        assert third.sent == ["A", "a", "B", "b", "C"]
        assert await versions(chat) == [None] * 6
        named = await ask(chat, model, "D", "d", parent_id=third.answer)
        assert named.sent == ["A", "a", "B", "b", "C", "c", "D"]
        assert await versions(chat) == [None] * 8

    async def test_null_begins_an_empty_conversation_too(self, chat: Chat, model: ModelServer) -> None:
        await ask(chat, model, "A", "a", parent_id=None)
        assert await versions(chat) == [None, None]

    async def test_goes_on_from_a_version_that_is_not_shown(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        edited = await ask(chat, model, "A2", "a2", parent_id=None)
        later = await ask(chat, model, "C", "c", parent_id=two[1].answer)
        assert later.sent == ["A", "a", "B", "b", "C"]
        assert await path(chat) == ["A", "a", "B", "b", "C", "c"]
        await chat.show(edited.answer)
        assert await path(chat) == ["A2", "a2"]

    async def test_of_an_edit_is_a_third_version(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        for number in (2, 3):
            await ask(chat, model, f"B{number}", f"b{number}", parent_id=two[0].answer)
        assert await path(chat) == ["A", "a", "B3", "b3"]
        assert await versions(chat) == [None, None, (2, 3), None]

    async def test_after_a_question_leaves_its_answer_beside(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        """The model gets two questions as one turn: roles alternate."""
        said = await ask(chat, model, "And?", "x", parent_id=two[0].question)
        assert said.sent == ["A\n\nAnd?"]
        assert await path(chat) == ["A", "And?", "x"]
        await chat.show(two[0].answer)
        assert await path(chat) == ["A", "a", "B", "b"]

    async def test_is_stored_once_however_often_it_is_sent(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        model.say = ["b2"]
        where = {"key": "k", "parent_id": two[0].answer}
        first = await read_events(await chat.send("B2", **where))
        assert await read_events(await chat.send("B2", **where)) == first
        await chat.show(two[1].question)
        retried = await read_events(await chat.send("B2", **where))
        assert retried[-1].data["message_id"] == first[-1].data["message_id"]
        assert await versions(chat) == [None, None, (0, 2), None]  # what is shown isn't changed by a retry
        assert len(model.requests) == 3
        reused = await chat.send("B3", **where)
        assert (await reused.json())["detail"][0]["type"] == "idempotency_key_reused"

    async def test_whose_answer_fails_stays_where_it_went(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        model.refuse = (500, "")
        await (await chat.send("B2", parent_id=two[0].answer)).read()
        model.refuse = None
        assert await path(chat) == ["A", "a", "B2"]
        assert (await chat.get())["unanswered"]["error"] == "inference_error"
        await chat.show(two[1].answer)
        assert await path(chat) == ["A", "a", "B", "b"]

    @pytest.mark.parametrize(
        "text", ["🦜" * 8000, "e\u0301\u202e\u05e9", "  "], ids=["emoji", "rtl", "spaces"]
    )
    async def test_takes_any_text(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said], text: str
    ) -> None:
        await ask(chat, model, text, "x", parent_id=two[0].answer)
        assert (await path(chat))[2] == text

    @pytest.mark.parametrize("where", ["here", "\0", 5, {}, "x" * 100_000], ids=repr)
    async def test_to_what_can_be_no_id_is_refused(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said], where: object
    ) -> None:
        response = await chat.send("B2", parent_id=where)
        assert response.status == 422
        assert (await response.json())["detail"][0]["loc"] == ["body", "parent_id"]
        assert len(model.requests) == 2
        assert await path(chat) == ["A", "a", "B", "b"]


class TestVersionsOfAnAnswer:
    async def test_the_old_answer_stays_as_a_sibling(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        for number in (2, 3):
            assert (await again(chat, model, f"b{number}")).sent == ["A", "a", "B"]
        assert await path(chat) == ["A", "a", "B", "b3"]
        assert await versions(chat) == [None, None, None, (2, 3)]
        ids = (await chat.get())["messages"][3]["siblings"]["ids"]
        assert ids[0] == two[1].answer
        for number, message_id in enumerate(ids):
            await chat.show(message_id)
            assert (await path(chat))[3] == ["b", "b2", "b3"][number]
            assert (await versions(chat))[3] == (number, 3)

    async def test_the_last_one_is_done_again_if_none_is_named(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        assert (await again(chat, model, "b2", message_id=None)).question == two[1].question
        assert await path(chat) == ["A", "a", "B", "b2"]

    async def test_one_in_the_middle_is_done_again_from_what_came_before(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        response = await chat.regenerate(message_id=two[0].answer)
        call = await model.call()
        assert [turn["content"] for turn in call.request["messages"]] == ["A"]
        call.say("a")
        await read_events(response, 2)
        assert await path(chat) == ["A", "a", "B", "b"]  # nothing is lost until there is something better
        call.finish("2")
        await read_events(response)
        assert await path(chat) == ["A", "a2"]
        assert await versions(chat) == [None, (1, 2)]
        await chat.show(two[0].answer)
        assert await path(chat) == ["A", "a", "B", "b"]
        assert await versions(chat) == [None, (0, 2), None, None]

    async def test_one_that_is_not_shown_is_done_again_where_it_stands(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        await ask(chat, model, "A2", "a2", parent_id=None)
        said = await again(chat, model, "b2", message_id=two[1].answer)
        assert said.sent == ["A", "a", "B"]
        assert await path(chat) == ["A", "a", "B", "b2"]

    async def test_one_in_the_middle_that_fails_changes_nothing(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        model.refuse = (500, "")
        seen = await read_events(await chat.regenerate(message_id=two[0].answer))
        assert (seen[-2].data["error"], seen[-1].data["message_id"]) == ("inference_error", None)
        assert await path(chat) == ["A", "a", "B", "b"]
        assert await versions(chat) == [None] * 4

    async def test_without_stream_the_new_one_tells_of_the_old(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        model.say = ["b2"]
        body = await (await chat.regenerate(stream=False)).json()
        question, answer = (await chat.get())["messages"][2:]
        assert body == {"user_message": question, "message": answer}
        assert answer["siblings"] == {"index": 1, "ids": [two[1].answer, answer["id"]]}

    async def test_a_question_can_be_answered_after_an_edit_beside_it(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        edited = await ask(chat, model, "B2", "b2", parent_id=two[0].answer)
        await again(chat, model, "b3")
        await chat.show(two[1].question)
        await again(chat, model, "bb")
        assert await path(chat) == ["A", "a", "B", "bb"]
        assert await versions(chat) == [None, None, (0, 2), (1, 2)]
        await chat.show(edited.question)
        assert await path(chat) == ["A", "a", "B2", "b3"]  # the newest that stands below


class TestSwitching:
    async def test_shows_the_path_through_a_message(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        await ask(chat, model, "A2", "a2", parent_id=None)
        await chat.show(two[0].question)
        assert await path(chat) == ["A", "a", "B", "b"]

    async def test_to_what_is_shown_already_changes_nothing(self, chat: Chat, two: tuple[Said, Said]) -> None:
        await chat.show(two[0].question)
        assert await path(chat) == ["A", "a", "B", "b"]

    async def test_the_next_question_follows_what_is_shown(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        await ask(chat, model, "A2", "a2", parent_id=None)
        await chat.show(two[1].answer)
        assert (await ask(chat, model, "C", "c")).sent == ["A", "a", "B", "b", "C"]

    async def test_waits_for_a_running_answer(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        edited = await ask(chat, model, "A2", "a2", parent_id=None)
        response = await chat.send("C")
        call = await model.call()
        [begun] = await read_events(response, 1)
        refused = await chat.change(active_message_id=two[0].question)
        assert refused.status == 409
        assert (await refused.json())["generation_id"] == begun.data["generation_id"]
        assert await path(chat) == ["A2", "a2", "C"]
        await chat.show(edited.answer)  # that is shown, so nothing has to be moved
        call.finish("c")
        await read_events(response)
        await chat.show(two[0].question)
        assert await path(chat) == ["A", "a", "B", "b"]


class TestTakingBack:
    async def test_what_stands_below_goes_too(self, chat: Chat, two: tuple[Said, Said], sql: Sql) -> None:
        response = await chat.take_back(two[0].answer)
        assert (response.status, await response.read()) == (204, b"")
        assert await path(chat) == ["A"]
        assert await sql.fetchval("select count(*) from messages") == 1
        assert (await chat.get())["unanswered"] is None

    async def test_of_a_version_shows_the_newest_that_is_left(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        for number in (2, 3):
            edited = await ask(chat, model, f"B{number}", f"b{number}", parent_id=two[0].answer)
        assert (await chat.take_back(edited.question)).status == 204
        assert await path(chat) == ["A", "a", "B2", "b2"]
        assert await versions(chat) == [None, None, (1, 2), None]

    async def test_of_one_that_is_not_shown_leaves_what_is(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        await ask(chat, model, "B2", "b2", parent_id=two[0].answer)
        assert (await chat.take_back(two[1].question)).status == 204
        assert await path(chat) == ["A", "a", "B2", "b2"]
        assert await versions(chat) == [None] * 4
        for gone in (two[1].question, two[1].answer):
            assert await refusal(await chat.take_back(gone)) == (404, "message_not_found")

    async def test_of_the_first_leaves_an_empty_conversation(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        assert (await chat.take_back(two[0].question)).status == 204
        assert await path(chat) == []
        assert (await ask(chat, model, "C", "c")).sent == ["C"]

    async def test_of_a_question_waits_for_its_answer(
        self, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        response = await chat.send("C")
        call = await model.call()
        [begun] = await read_events(response, 1)
        for message_id in (begun.data["user_message_id"], two[0].question):
            refused = await chat.take_back(message_id)
            assert refused.status == 409
            assert (await refused.json())["generation_id"] == begun.data["generation_id"]
        call.finish("c")
        await read_events(response)
        assert (await chat.take_back(begun.data["user_message_id"])).status == 204
        assert await path(chat) == ["A", "a", "B", "b"]


class TestAFork:
    async def test_has_the_path_to_its_message(
        self, client: Client, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        await chat.change(instructions="Be brief.", options={"top_k": 3}, title="Tea")
        response = await chat.fork(two[0].answer)
        assert response.status == 201
        made = await response.json()
        assert (made["title"], made["instructions"], made["options"]) == ("Tea", "Be brief.", {"top_k": 3})
        other = Chat(client, f"/api/conversations/{made['id']}", chat.user)
        assert await path(other) == ["A", "a"]
        assert await versions(other) == [None, None]
        assert (await ask(other, model, "C", "c")).sent == ["Be brief.\n\nA", "a", "C"]
        assert await path(chat) == ["A", "a", "B", "b"]

    async def test_of_a_version_that_is_not_shown_has_that_one(
        self, client: Client, chat: Chat, model: ModelServer, two: tuple[Said, Said]
    ) -> None:
        await ask(chat, model, "A2", "a2", parent_id=None)
        made = await (await chat.fork(two[1].question)).json()
        other = Chat(client, f"/api/conversations/{made['id']}", chat.user)
        assert await path(other) == ["A", "a", "B"]
        assert await path(chat) == ["A2", "a2"]
        assert (await again(other, model, "b2")).sent == ["A", "a", "B"]

    async def test_counts_as_a_conversation(
        self, start: Start, settings: Any, user: dict[str, str], model: ModelServer
    ) -> None:
        client = await start(settings.model_copy(update={"max_conversations_per_user": 2}))
        chat = await open_chat(client, user)
        said = await ask(chat, model, "A", "a")
        assert (await chat.fork(said.answer)).status == 201
        assert await refusal(await chat.fork(said.answer)) == (429, "too_many_conversations")

    async def test_of_a_question_that_is_being_answered_has_the_question(
        self, client: Client, chat: Chat, model: ModelServer
    ) -> None:
        _, call, seen = await chat.begin(model, "a")
        made = await (await chat.fork(seen[0].data["user_message_id"])).json()
        other = Chat(client, f"/api/conversations/{made['id']}", chat.user)
        assert await path(other) == ["Hi"]
        assert (await other.get())["generation"] is None
        call.finish()
        await no_answer_lives()


@pytest.fixture
def requests(chat: Chat) -> Any:
    """Every request that names a message."""

    def make(message_id: str) -> list[Any]:
        return [
            chat.send("x", parent_id=message_id),
            chat.regenerate(message_id=message_id),
            chat.go_on(message_id=message_id),
            chat.fork(message_id),
            chat.take_back(message_id),
            chat.change(active_message_id=message_id),
        ]

    return make


async def test_a_message_that_is_not_there_is_not_found(
    client: Client, auth: AuthService, chat: Chat, model: ModelServer, two: tuple[Said, Said], requests: Any
) -> None:
    mine = await ask(await open_chat(client, chat.user), model, "mine", "m")
    theirs = await ask(await open_chat(client, auth.sign_in()), model, "theirs", "t")
    for message_id in (str(uuid4()), mine.question, mine.answer, theirs.question, theirs.answer):
        for request in requests(message_id):
            assert await refusal(await request) == (404, "message_not_found")
    assert await path(chat) == ["A", "a", "B", "b"]
    assert len(model.requests) == 4


@pytest.mark.parametrize("name", ["0", "%00", "%F0%9F%A6%9C", "'%20or%20true--", "x" * 36])
async def test_a_path_that_can_name_no_message_names_none(
    chat: Chat, two: tuple[Said, Said], name: str
) -> None:
    assert await refusal(await chat.take_back(name)) == (404, "message_not_found")
    assert await path(chat) == ["A", "a", "B", "b"]


async def test_while_an_answer_is_written_a_message_beside_it_waits_its_turn(
    chat: Chat, model: ModelServer, two: tuple[Said, Said]
) -> None:
    await ask(chat, model, "A2", "a2", parent_id=None)
    response = await chat.send("C")
    call = await model.call()
    await read_events(response, 1)
    for request in (
        chat.send("B2", parent_id=two[0].answer, when_running="reject"),
        chat.send("A3", parent_id=None, when_running="reject"),
        chat.regenerate(message_id=two[1].answer, when_running="reject"),
        chat.regenerate(message_id=two[1].answer),
    ):
        assert await refusal(await request) == (409, "generation_running")
    assert await path(chat) == ["A2", "a2", "C"]
    call.say("so far")
    await read_events(response, 1)
    superseding = await chat.send("B2", parent_id=two[0].answer, when_running="supersede")
    said = await read(superseding, model, "b2")
    assert said.sent == ["A", "a", "B2"]
    assert await path(chat) == ["A", "a", "B2", "b2"]
    assert text_of(await read_events(response)) == ""
    await chat.show(two[0].question)


async def test_many_at_once_are_stored_one_by_one(
    chat: Chat, model: ModelServer, two: tuple[Said, Said]
) -> None:
    model.say = ["x"]
    asked = [chat.send(str(number), parent_id=two[number % 2].answer, stream=False) for number in range(12)]
    statuses = sorted((await asyncio.gather(*asked)), key=lambda response: response.status)
    assert {response.status for response in statuses} <= {200, 409, 503}
    stored = sum(response.status == 200 for response in statuses)
    assert stored >= 1
    await no_answer_lives()
    assert len(model.requests) == 2 + stored
    siblings = []
    for parent in two:
        shown = await ask(chat, model, "?", "!", parent_id=parent.answer)
        messages = {message["id"]: message for message in (await chat.get())["messages"]}
        siblings.append(messages[shown.question]["siblings"] or {"ids": [shown.question]})
    # B stands beside what came after A.
    assert sum(len(each["ids"]) for each in siblings) == stored + 2 + 1


async def test_an_edit_that_meets_another_change_is_made_after_it(
    chat: Chat, model: ModelServer, two: tuple[Said, Said], first: Sql, sql: Sql
) -> None:
    await first.execute("update conversations set is_favorited = true")
    sending = asyncio.create_task(chat.send("B2", parent_id=two[0].answer))
    await somebody_waits(sql)
    await first.execute("commit")
    await read(await sending, model, "b2")
    assert await path(chat) == ["A", "a", "B2", "b2"]
    assert await versions(chat) == [None, None, (1, 2), None]


async def test_a_switch_that_others_undo_each_time_is_given_up() -> None:
    class Undone:
        """A database where somebody else switches back at once."""

        asked: list[str]

        def __init__(self) -> None:
            self.asked = []

        async def row(self, name: str, **_: object) -> dict[str, str | None]:
            self.asked.append(name)
            outcome = "inactive" if name == "generations.start" else "updated"
            return {"outcome": outcome, "new_version": None}

    database: Any = Undone()
    watch = Watch(database, uuid4(), Notices(uuid4(), is_on=False, on_wait=lambda: None))
    place = {"parent_id": uuid4(), "answer_id": None, "user_id": uuid4(), "conversation_id": uuid4()}
    with pytest.raises(errors.RequestRepeated):
        await starts.start(database, watch, place)
    assert database.asked == ["generations.start", "conversations.update"] * 3


async def test_a_socket_edits_and_does_again(
    client: Client, chat: Chat, model: ModelServer, two: tuple[Said, Said]
) -> None:
    async with open_tab(client, chat.user) as tab:
        tab.skipped = ("changed",)  # the path that it follows
        for kind, fields, sent in (
            ("send", {"content": "B2", "parent_id": two[0].answer}, ["A", "a", "B2"]),
            ("send", {"content": "A2", "parent_id": None}, ["A2"]),
            ("regenerate", {"message_id": two[1].answer}, ["A", "a", "B"]),
        ):
            ack = await tab.ask(kind, chat.path, **fields)
            assert ack["type"] == "ack", ack
            call: Call = await model.call()
            assert [turn["content"] for turn in call.request["messages"]] == sent
            call.finish("x")
            assert words(await tab.events()) == "x"
        assert await path(chat) == ["A", "a", "B", "x"]
        assert await versions(chat) == [(0, 2), None, (0, 2), (1, 2)]
        named = {"send": "parent_id", "regenerate": "message_id", "continue": "message_id"}
        for kind, name in named.items():
            refused = await tab.ask(kind, chat.path, content="x", **{name: "nowhere"})
            assert refused["detail"][0]["loc"] == ["frame", name]
            refused = await tab.ask(kind, chat.path, content="x", **{name: str(uuid4())})
            assert (refused["code"], refused["status"]) == ("message_not_found", 404)


async def test_a_reader_that_knows_of_no_versions_sees_a_linear_conversation(
    chat: Chat, model: ModelServer, two: tuple[Said, Said]
) -> None:
    """By sections 1 to 6 of docs/contract.md: one question, one answer, and so on, oldest first."""
    await ask(chat, model, "B2", "b2", parent_id=two[0].answer)
    await again(chat, model, "b3")
    await again(chat, model, "a2", message_id=two[0].answer)
    await chat.show(two[1].answer)
    assert (await ask(chat, model, "C", "c")).sent == ["A", "a", "B", "b", "C"]
    assert [role for role, _, _ in await chat.messages()] == ["user", "assistant"] * 3
    newest = await chat.client.get(chat.path, headers=chat.user, params={"limit": "2"})
    body = await newest.json()
    assert ([each["content"] for each in body["messages"]], body["has_more"]) == (["C", "c"], True)
    params = {"limit": "3", "before": body["messages"][0]["id"]}
    before = await (await chat.client.get(chat.path, headers=chat.user, params=params)).json()
    assert [each["content"] for each in before["messages"]] == ["a", "B", "b"]
    assert (await again(chat, model, "c2")).sent == ["A", "a", "B", "b", "C"]
    assert await path(chat) == ["A", "a", "B", "b", "C", "c2"]
