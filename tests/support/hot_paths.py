"""Everything that users do, and that workers do by themselves, on two workers that share a database."""

from __future__ import annotations

import base64
from typing import Any
from uuid import UUID

from tests.support.chat import Chat, Client, Sql, open_chat, until
from tests.support.model_server import ModelServer
from tests.support.queries import Chat as Rows
from tests.support.queries import kill_workers
from tests.support.reader import read_events, text_of
from tests.support.sdk import collect, sdk_of
from tests.support.tab import open_tab, words

OLD = UUID("01800000-0000-7000-8000-000000000000")  # started in 2022; its conversation is gone
FAR_BACK = base64.b64encode(f"2025-01-01T00:00:00+00:00 {OLD}".encode()).decode()  # a place in a list


async def walk(one: Client, other: Client, user: dict[str, str], model: ModelServer, sql: Sql) -> None:
    """Take every hot path and check each result. `sql` reads the database, and plays a dead worker."""
    chat = await open_chat(one, user, title="New chat")
    await conversations(one, chat)
    await streams(chat, Chat(other, chat.path, user), model)
    await sockets(one, other, chat, model)
    await trees(one, other, user, model)
    await queues(chat, Chat(other, chat.path, user), model)
    await responses(one, other, user, model)
    await deletions(one, other, user, model, sql)
    await orphans(one, chat, sql)


async def conversations(client: Client, chat: Chat) -> None:
    """List, get, rename and star conversations."""
    async with client.get("/api/conversations", headers=chat.user) as response:
        body = await response.json()
        assert [f"/api/conversations/{item['id']}" for item in body["items"]] == [chat.path], body
    async with client.get("/api/conversations", headers=chat.user, params={"cursor": FAR_BACK}) as response:
        assert (await response.json())["items"] == []
    async with client.put(chat.path, headers=chat.user, json={"is_favorited": True}) as response:
        assert (await response.json())["is_favorited"]
    assert (await chat.get())["messages"] == []


async def streams(chat: Chat, elsewhere: Chat, model: ModelServer) -> None:
    """Send, attach on another worker, retry, stop from there, regenerate, send without streaming."""
    sent = await chat.send("Tea?", key="k")
    call = await model.call()
    call.say("Boil ", "water")
    begun = await read_events(sent, 3)
    attached = await elsewhere.attach()
    assert await read_events(attached, 3) == begun
    assert (await elsewhere.get())["generation"] is not None
    refused = await elsewhere.send("And?")
    assert refused.status == 409
    retried = await elsewhere.send("Tea?", key="k")
    assert (await read_events(retried, 3)) == begun
    assert (await elsewhere.stop())["stopped"]
    assert (await read_events(sent))[-1].data["finish_reason"] == "stopped"
    assert (await read_events(attached))[-1].data["finish_reason"] == "stopped"
    assert await chat.messages() == [("user", "Tea?", None), ("assistant", "Boil water", "stopped")]
    assert (await chat.get())["title"] == "Tea?"
    again = await chat.regenerate()
    (await model.call()).finish("Boil milk")
    assert text_of(await read_events(again)) == "Boil milk"
    late = await elsewhere.attach()
    assert text_of(await read_events(late)) == "Boil milk"
    model.say = ["Yes"]
    whole = await chat.send("Sure?", stream=False)
    assert (await whole.json())["message"]["content"] == "Yes"
    model.say = None
    await model.call()
    assert [content for _, content, _ in await chat.messages()] == ["Tea?", "Boil milk", "Sure?", "Yes"]
    model.refuse = (400, "no")
    assert (await read_events(await chat.send("Bad?")))[-1].data["message_id"] is None
    model.refuse = None
    await model.call()
    assert (await elsewhere.get())["unanswered"]["error"] == "inference_rejected"


async def responses(one: Client, other: Client, user: dict[str, str], model: ModelServer) -> None:
    """What programs do by OpenAI's API: begin, go on, resume on another worker, cancel, note, delete."""
    here, there = sdk_of(one, user), sdk_of(other, user)
    async with here, there:
        history: Any = [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "Yes."}]
        first = await here.responses.create(
            input=[*history, {"role": "user", "content": "How?"}],
            background=True,
            extra_headers={"Idempotency-Key": "r"},
        )
        call = await model.call()
        call.say("Boil")
        stream = await there.responses.retrieve(first.id, stream=True, starting_after=3)
        assert (await collect(stream, 1))[0]["delta"] == "Boil"
        assert (await there.responses.cancel(first.id)).output_text == "Boil"
        second = await there.responses.create(input="And?", previous_response_id=first.id, background=True)
        (await model.call()).finish("Milk")
        assert (await collect(await here.responses.retrieve(second.id, stream=True)))[-1]["response"][
            "output"
        ]
        assert second.conversation is not None
        of = second.conversation.id
        assert (await here.conversations.update(of, metadata={"a": "b"})).metadata == {"a": "b"}
        await here.conversations.items.create(of, items=history)
        *_, last = [each async for each in here.conversations.items.list(of, order="asc", limit=2)]
        await here.conversations.items.delete(last.id or "", conversation_id=of)
        assert len((await here.responses.input_items.list(second.id)).data) == 1
        third = await here.responses.create(input="x", previous_response_id=first.id, background=True)
        (await model.call()).finish("y")
        await collect(await here.responses.retrieve(third.id, stream=True))
        await here.responses.delete(third.id)
        await there.conversations.delete(of)


async def sockets(one: Client, other: Client, chat: Chat, model: ModelServer) -> None:
    """Send over a WebSocket, follow from another worker, stop."""
    async with open_tab(one, chat.user) as tab, open_tab(other, chat.user) as second:
        assert (await second.ask("subscribe", chat.path))["generation_id"] is None
        assert (await tab.ask("send", chat.path, content="Sugar?"))["type"] == "ack"
        (await model.call()).finish("Two ", "spoons")
        assert words(await tab.events()) == "Two spoons"
        assert words(await second.events()) == "Two spoons"
        assert (await tab.ask("regenerate", chat.path))["type"] == "ack"
        call = await model.call()
        call.say("None")
        await tab.events(2)
        await second.say("stop", chat.path, ref="s")
        frames = await tab.events()
        assert frames[-1]["finish_reason"] == "stopped"
        call.close()


async def trees(one: Client, other: Client, user: dict[str, str], model: ModelServer) -> None:
    """Edit, do an answer again, switch, go on with a cut one, fork, take back, and set what holds for all."""
    chat = await open_chat(one, user)
    elsewhere = Chat(other, chat.path, user)
    await chat.exchange(model, "Boil milk")
    question, answer = (message["id"] for message in (await chat.get())["messages"])
    edited = await elsewhere.send("Tea?", parent_id=None)
    call = await model.call()
    call.say("Boil")
    await read_events(edited, 2)
    assert (await chat.stop())["stopped"]
    await read_events(edited)
    call.close()
    continued = await chat.go_on()
    (await model.call()).finish(" water")
    assert text_of(await read_events(continued)) == "Boil water"
    await elsewhere.show(answer)
    assert [message["id"] for message in (await chat.get())["messages"]] == [question, answer]
    again = await elsewhere.regenerate(message_id=answer)
    (await model.call()).finish("Steep it")
    assert text_of(await read_events(again)) == "Steep it"
    messages = (await chat.get())["messages"]
    assert [(len(each["siblings"]["ids"]), each["siblings"]["index"]) for each in messages] == [
        (2, 0),
        (2, 1),
    ]
    assert (await chat.change(instructions="Be brief", options={"temperature": 0.5})).status == 200
    forked = await elsewhere.fork(answer)
    assert forked.status == 201, await forked.text()
    copy = Chat(one, f"/api/conversations/{(await forked.json())['id']}", user)
    assert [text for _, text, _ in await copy.messages()] == ["Hi", "Boil milk"]
    assert (await elsewhere.take_back(messages[1]["id"])).status == 204
    assert [message["id"] for message in (await chat.get())["messages"]] == [question, answer]
    for each in (chat, copy):
        async with one.delete(each.path, headers=user) as response:
            assert response.status == 204


async def queues(chat: Chat, elsewhere: Chat, model: ModelServer) -> None:
    """Let messages wait for their turn, on another worker too; take one back, clear the others."""
    sent, call, _ = await chat.begin(model, "Simmer")
    waiting = []
    for content in ("Salt?", "Sugar?", "Ghee?"):
        response = await elsewhere.send(content, when_running="queue")
        assert response.status == 202, await response.text()
        waiting.append((await response.json())["queued"]["id"])
    assert [each["content"] for each in (await chat.get())["queued"]] == ["Salt?", "Sugar?", "Ghee?"]
    assert (await elsewhere.take_back(waiting[1])).status == 204
    call.finish()
    assert (await read_events(sent))[-1].data["finish_reason"] == "stop"
    next_call = await model.call()  # of the first one that waits
    attached = await elsewhere.attach()
    response = await chat.client.post(f"{chat.path}/stop", json={"queue": "clear"}, headers=chat.user)
    assert (await response.json())["stopped"]
    await read_events(attached)
    next_call.close()
    body = await elsewhere.get()
    assert (body["queued"], body["messages"][-1]["content"]) == ([], "Salt?")


async def deletions(one: Client, other: Client, user: dict[str, str], model: ModelServer, sql: Sql) -> None:
    """Delete a conversation while another worker writes its answer. Only its journal stays, for a while."""
    chat = await open_chat(one, user)
    sent, call, _ = await chat.begin(model, "long")
    async with other.delete(chat.path, headers=user) as response:
        assert response.status == 204
    assert (await read_events(sent))[-1].data["done"]
    call.close()
    async with one.get(chat.path, headers=user) as response:
        assert response.status == 404
    gone = chat.path.rpartition("/")[2]
    for table in ("messages", "generations"):
        assert not await sql.fetchval(f"select count(*) from {table} where conversation_id = $1", gone)


async def orphans(client: Client, chat: Chat, sql: Sql) -> None:
    """Let a worker die and another end its answer. Old slices are pruned, and both workers are ready."""
    user_id = await sql.fetchval("select user_id from conversations where id = $1", chat.path[-36:])
    dead = Rows(user_id=user_id, id=UUID(chat.path[-36:]))
    await dead.speak(sql)  # its lease is valid, so nobody ends its answer yet
    generation_id = await dead.begin(sql, content="Still there?")
    call = {"index": 0, "id": "c", "name": "f", "arguments": "{}"}
    await dead.speak(
        sql, (generation_id, 0, [{}, {"reasoning": "hm"}, {"token": "I am"}, {"tool_call": call}])
    )
    await kill_workers(sql)

    async def ended() -> Any:
        return await sql.fetchval(
            "select status = 'interrupted' from generations where id = $1", generation_id
        )

    await until(ended)
    assert (await chat.messages())[-1] == ("assistant", "I am", "interrupted")
    message = (await chat.get())["messages"][-1]
    assert (message["reasoning"], message["tool_calls"][0]["name"]) == ("hm", "f")
    await sql.execute(
        "insert into journal (generation_id, first_seq, next_seq, events) values ($1, 0, 1, '[{}]')", OLD
    )

    async def pruned() -> Any:
        return await sql.fetchval("select not exists (select from journal where generation_id = $1)", OLD)

    await until(pruned)
    async with client.get("/api/ready") as response:
        assert (response.status, (await response.json())["ready"]) == (200, True)
