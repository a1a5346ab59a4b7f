"""Conversations are trees: random steps against a model of what a tree is, and two workers at once."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest

from tests.sql.test_bring_in import bring_in
from tests.support.queries import Chat, Connection, history, kill_workers, one, opened, run, shown

STEPS = int(os.environ.get("TREE_STEPS", "1200"))  # of each test; thousands take minutes
CONVERSATIONS = 12
WORDS = ["tea", "चाय", "🫖", "line\nbreak"]
CUT = ("length", "stopped", "interrupted")
STATUSES = {
    "completed": ("stop", "length"),
    "stopped": ("stopped",),
    "failed": ("error",),
    "interrupted": ("interrupted",),
}

ALL = (
    "select id, role, content, finish_reason, position, parent_position, true as is_active"
    " from messages where conversation_id = $1 union all"
    " select id, role, content, finish_reason, position, parent_position, false"
    " from inactive_messages where conversation_id = $1 order by position"
)


@dataclass
class Node:
    """A message; `place` is its age in the tree."""

    id: UUID
    parent: UUID | None
    role: str
    content: str
    finish_reason: str | None
    place: int


@dataclass
class Tree:
    """What a conversation is: messages, each after another one, and the path that is shown."""

    nodes: dict[UUID, Node] = field(default_factory=dict)
    path: list[UUID] = field(default_factory=list)
    said: int = 0

    def add(self, node_id: UUID, parent: UUID | None, role: str, content: str, reason: str | None) -> None:
        self.said += 1
        self.nodes[node_id] = Node(node_id, parent, role, content, reason, self.said)

    def cut_after(self, parent: UUID | None) -> None:
        del self.path[0 if parent is None else self.path.index(parent) + 1 :]

    def children(self, parent: UUID | None) -> list[Node]:
        """Oldest first."""
        return sorted((each for each in self.nodes.values() if each.parent == parent), key=lambda n: n.place)

    def switch(self, node_id: UUID) -> None:
        if node_id in self.path:
            return
        branch: list[UUID] = []
        above: UUID | None = node_id
        while above is not None and above not in self.path:
            branch.insert(0, above)
            above = self.nodes[above].parent
        self.cut_after(above)
        self.path += branch
        while below := self.children(self.path[-1]):
            self.path.append(below[-1].id)

    def delete(self, node_id: UUID) -> None:
        was_active, parent = node_id in self.path, self.nodes[node_id].parent
        gone = [node_id]
        for each in gone:
            gone += [child.id for child in self.children(each)]
        for each in gone:
            del self.nodes[each]
        self.path = [each for each in self.path if each in self.nodes]
        if was_active and (left := self.children(parent)):
            self.switch(left[-1].id)

    def siblings(self, node_id: UUID) -> dict[str, Any] | None:
        ids = [each.id for each in self.children(self.nodes[node_id].parent)]
        return {"index": ids.index(node_id), "ids": [str(each) for each in ids]} if len(ids) > 1 else None

    def last(self, *roles: str, up_to: UUID | None = None) -> UUID | None:
        """The newest message of the path with one of these roles, up to a certain message."""
        end = len(self.path) if up_to is None else self.path.index(up_to) + 1
        return next((each for each in self.path[:end][::-1] if self.nodes[each].role in roles), None)


@dataclass
class Running:
    """An answer that is being written."""

    id: UUID
    kind: str
    question: UUID
    named: UUID | None
    begun: str

    @property
    def is_certain(self) -> bool:
        return self.named is not None or self.kind == "continue"


class Steps:
    """Random steps in one conversation, each in the database and in the tree."""

    def __init__(self, connections: list[Connection], chat: Chat, chance: random.Random) -> None:
        self.connections = connections
        self.chat = chat
        self.tree = Tree()
        self.chance = chance
        self.running: Running | None = None
        self.queue: list[str] = []
        self.taken: Counter[str] = Counter()
        self.trail: list[str] = []

    @property
    def sql(self) -> Connection:
        return self.chance.choice(self.connections)

    def word(self) -> str:
        return f"{self.tree.said} {self.chance.choice(WORDS)}"

    def any(self) -> UUID | None:
        return self.chance.choice(list(self.tree.nodes)) if self.tree.nodes else None

    async def step(self) -> None:
        steps = (
            [self.finish] * 5 + [self.crash, self.switch, self.delete, self.send, self.wait]
            if self.running
            else [self.send] * 4
            + [self.edit, self.regenerate, self.go_on, self.switch] * 2
            + [self.delete, self.fork, self.settings]
        )
        taken = self.chance.choice(steps)
        self.taken[taken.__name__] += 1
        self.trail.append(f"{taken.__name__} while {self.running}")
        await taken()

    async def start(self, kind: str, named: UUID | None = None, **changes: Any) -> asyncpg.Record:
        given = {"kind": kind, "answer_id": named, **changes}
        row = await self.chat.start(self.sql, **given)
        assert row is not None
        if row["outcome"] == "inactive":
            await self.switch(named or changes["parent_id"])
            row = await self.chat.start(self.sql, **given)
            assert row is not None
        return row

    async def send(self) -> None:
        content = self.word()
        row = await self.start("send", content=content)
        if self.running:
            assert (row["outcome"], row["generation_id"]) == ("running", self.running.id)
            return
        self._asked(row, content)

    async def wait(self) -> None:
        content = f"{len(self.queue)} waits for {self.word()}"
        row = await self.chat.queue(self.sql, content, max_waiting=3)
        assert row is not None
        assert row["outcome"] == ("queued" if len(self.queue) < 3 else "full")
        if row["outcome"] == "queued":
            self.queue.append(content)

    async def take_turn(self) -> None:
        """Two workers take the turn of the message that waits: one of them begins its answer."""
        if not self.queue or self.chance.random() < 0.2:
            return
        turns = [await one(each, "queue.next", conversation_id=self.chat.id) for each in self.connections]
        content = self.queue.pop(0)
        rows = []
        for each, turn in zip(self.connections, turns, strict=True):
            assert turn is not None
            assert turn["content"] == content
            rows.append(await self.chat.start(each, content=content, queued_id=turn["id"]))
        first, second = rows
        assert first is not None
        assert second is not None
        assert second["outcome"] == "dequeued"
        self._asked(first, content)

    def _asked(self, row: asyncpg.Record, content: str) -> None:
        assert row["outcome"] == "started"
        tree = self.tree
        tree.add(row["user_message_id"], tree.path[-1] if tree.path else None, "user", content, None)
        tree.path.append(row["user_message_id"])
        self.running = Running(row["generation_id"], "send", row["user_message_id"], None, "")
        sent = [[each.role, each.content] for each in map(tree.nodes.__getitem__, tree.path)]
        assert history(row) == sent[-len(history(row)) :]
        assert len(history(row)) >= min(len(sent), 50)

    async def edit(self) -> None:
        parent = None if self.chance.random() < 0.2 else self.any()
        content = self.word()
        row = await self.start("send", content=content, parent_id=parent, is_root=parent is None)
        self.tree.cut_after(parent)
        self._asked(row, content)

    async def regenerate(self) -> None:
        named = self.any() if self.chance.random() < 0.7 else None
        row = await self.start("regenerate", named)
        question = self.tree.last("user", up_to=named)
        if question is None:
            assert row["outcome"] == "nothing"
            return
        assert (row["outcome"], row["user_message_id"]) == ("started", question)
        assert history(row)[-1] == ["user", self.tree.nodes[question].content]
        self.running = Running(row["generation_id"], "regenerate", question, named, "")

    async def go_on(self) -> None:
        named = self.any() if self.chance.random() < 0.7 else None
        row = await self.start("continue", named)
        answer = named or (self.tree.path[-1] if self.tree.path else None)
        node = self.tree.nodes[answer] if answer else None
        if node is None or node.role != "assistant" or node.finish_reason not in CUT:
            assert row["outcome"] == "whole"
            return
        question = self.tree.last("user", up_to=answer)
        if question is None:
            assert row["outcome"] == "nothing"
            return
        assert (row["outcome"], row["user_message_id"]) == ("started", question)
        assert orjson.loads(row["begun"])["content"] == node.content
        assert history(row)[-1] == ["assistant", node.content]
        self.running = Running(row["generation_id"], "continue", question, named, node.content)

    def _text(self, running: Running) -> str:
        return "" if self.chance.random() < 0.15 else running.begun + self.word()

    async def finish(self) -> None:
        running = self.running
        assert running is not None
        status = self.chance.choice(list(STATUSES))
        reason = self.chance.choice(STATUSES[status])
        text = self._text(running)
        row = await self.chat.finish(
            self.sql, running.id, after_id=running.question, status=status, finish_reason=reason, content=text
        )
        assert row is not None
        assert row["is_ended"]
        assert (row["message_id"] is None) == (text == "")
        assert row["is_queued"] == bool(self.queue)
        self.running = None
        if text:
            replaces = running.kind == "continue" or (
                running.kind == "regenerate" and status in ("completed", "stopped")
            )
            self._answered(running, row["message_id"], text, reason, replaces)
        await self.take_turn()

    def _answered(self, running: Running, answer: UUID, text: str, reason: str, replaces: bool) -> None:
        tree = self.tree
        if replaces:
            tree.cut_after(running.question)
        elif running.is_certain and tree.path[-1] != running.question:
            tree.add(answer, running.question, "assistant", text, reason)  # another version, off the path
            return
        tree.add(answer, tree.path[-1], "assistant", text, reason)
        tree.path.append(answer)

    async def crash(self) -> None:
        """Its worker dies; perhaps it comes back at once with more."""
        running = self.running
        assert running is not None
        text = self._text(running)
        tokens = [{"token": text}] if text else []
        await self.chat.speak(self.sql, (running.id, 0, [{}, *tokens]))
        await kill_workers(self.sql)
        ended = await run(self.sql, "maintenance.interrupt_orphans")
        assert [row["id"] for row in ended] == [running.id]
        self.running = None
        answer = await self.sql.fetchval("select message_id from generations where id = $1", running.id)
        assert (answer is None) == (text == "")
        if text:
            self._answered(running, answer, text, "interrupted", replaces=False)
        if answer is not None and self.chance.random() < 0.5:
            more = text + self.word()
            row = await bring_in(
                self.sql,
                self.chat,
                running.id,
                running.question,
                kind=running.kind,
                question=self.tree.nodes[running.question].content,
                content=more,
                status="interrupted",
                finish_reason="length",
            )
            assert row is not None
            assert (row["is_ended"], row["message_id"]) == (True, answer)
            self.tree.nodes[answer].content = more
            self.tree.nodes[answer].finish_reason = "length"

    async def switch(self, node_id: UUID | None = None) -> None:
        node_id = node_id or self.any()
        if node_id is None:
            return
        row = await self.chat.update(self.sql, active_message_id=node_id)
        assert row is not None
        if self.running and node_id not in self.tree.path:
            assert (row["outcome"], row["generation_id"]) == ("running", self.running.id)
            return
        assert row["outcome"] == "updated"
        self.tree.switch(node_id)

    async def delete(self) -> None:
        node_id = self.any()
        if node_id is None:
            return
        row = await self.chat.take_back(self.sql, node_id)
        assert row is not None
        if self.running and node_id in self.tree.path:
            assert (row["outcome"], row["generation_id"]) == ("running", self.running.id)
            return
        assert row["outcome"] == "deleted"
        self.tree.delete(node_id)

    async def fork(self) -> None:
        node_id = self.any()
        if node_id is None:
            return
        row = await self.chat.fork(self.sql, node_id)
        assert row is not None
        assert row["outcome"] == "forked"
        copy = Chat(self.chat.user_id, UUID(orjson.loads(row["conversation"])["id"]))
        above: UUID | None = node_id
        texts: list[str] = []
        while above is not None:
            texts.insert(0, self.tree.nodes[above].content)
            above = self.tree.nodes[above].parent
        assert await copy.texts(self.sql) == texts

    async def settings(self) -> None:
        row = await self.chat.update(self.sql, instructions=self.word(), options='{"top_k":3}')
        assert row is not None
        assert row["outcome"] == "updated"

    async def compare(self) -> None:
        rows = await self.sql.fetch(ALL, self.chat.id)
        tree = self.tree
        assert [row["id"] for row in rows if row["is_active"]] == tree.path
        stored = {row["id"]: (row["role"], row["content"], row["finish_reason"]) for row in rows}
        assert stored == {
            each.id: (each.role, each.content, each.finish_reason) for each in tree.nodes.values()
        }
        places = {row["position"]: row["id"] for row in rows}
        assert len(places) == len(rows)
        for row in rows:
            if not row["is_active"]:
                parent = None if row["parent_position"] == 0 else places[row["parent_position"]]
                assert parent == tree.nodes[row["id"]].parent
        messages = shown(await opened(self.sql, self.chat.id, self.chat.user_id))
        assert [UUID(each["id"]) for each in messages] == tree.path
        waiting = await self.sql.fetch(
            "select content from queued_messages where conversation_id = $1 order by position", self.chat.id
        )
        assert [row["content"] for row in waiting] == self.queue
        for each in messages:
            node = tree.nodes[UUID(each["id"])]
            assert each["parent_id"] == (None if node.parent is None else str(node.parent))
            assert each["siblings"] == tree.siblings(node.id), node


async def test_random_steps_make_the_tree_that_they_should(sql: Connection, second: Connection) -> None:
    taken: Counter[str] = Counter()
    for seed in range(CONVERSATIONS):
        chance = random.Random(seed)
        steps = Steps([sql, second], await Chat().open(sql), chance)
        for number in range(STEPS // CONVERSATIONS):
            try:
                await steps.step()
                await steps.compare()
            except AssertionError as error:
                pytest.fail(f"conversation {seed}, step {number}, after {steps.trail[-4:]}: {error}")
        if steps.running:
            await steps.finish()
        taken += steps.taken
    assert set(taken) >= {
        "send",
        "edit",
        "regenerate",
        "go_on",
        "switch",
        "delete",
        "finish",
        "crash",
        "fork",
        "wait",
    }


class Tab:
    """One of several that do as they like in one conversation, at the same time, on workers of their own.

    What it is refused it leaves. `said` has what it knows to be stored.
    """

    def __init__(self, connection: Connection, chat: Chat, seed: int) -> None:
        self.sql = connection
        self.chat = Chat(chat.user_id, chat.id)
        self.chance = random.Random(seed)
        self.name = str(seed)
        self.said: set[str] = set()
        self.steps = 0

    async def run(self, steps: int) -> None:
        for _ in range(steps):
            self.steps += 1
            step = self.chance.choice(
                [self.ask, self.ask, self.edit, self.again, self.go_on, self.switch, self.wait]
            )
            # Somebody else got in between: the service asks again.
            with suppress(asyncpg.UniqueViolationError, asyncpg.CheckViolationError):
                await step()

    def word(self) -> str:
        return f"{self.name}:{self.steps}"

    async def any(self) -> UUID | None:
        rows = await self.sql.fetch(ALL, self.chat.id)
        return self.chance.choice(rows)["id"] if rows else None

    async def ask(self) -> None:
        await self._begin("send", content=self.word())

    async def edit(self) -> None:
        await self._begin("send", content=self.word(), parent_id=await self.any())

    async def again(self) -> None:
        await self._begin("regenerate", answer_id=await self.any())

    async def go_on(self) -> None:
        await self._begin("continue", answer_id=await self.any())

    async def wait(self) -> None:
        row = await self.chat.queue(self.sql, self.word())
        assert row is not None
        if row["outcome"] == "queued":
            self.said.add(self.word())

    async def _begin(self, kind: str, **given: Any) -> None:
        row = await self.chat.start(self.sql, kind=kind, **given)
        assert row is not None
        if row["outcome"] != "started":
            return
        if kind == "send":
            self.said.add(given["content"])
        await self._answer(row)
        turn = await one(self.sql, "queue.next", conversation_id=self.chat.id)
        if turn is not None:
            row = await self.chat.start(self.sql, content=turn["content"], queued_id=turn["id"])
            if row is not None and row["outcome"] == "started":
                await self._answer(row)

    async def _answer(self, row: asyncpg.Record) -> None:
        begun = orjson.loads(row["begun"])["content"] if row["begun"] else ""
        text = f"{begun}{self.word()} to {row['user_message_id']}"
        end = self.chance.choice(["finish", "finish", "finish", "fail", "crash"])
        if end == "crash":
            await self.chat.speak(self.sql, (row["generation_id"], 0, [{}, {"token": text}]))
            await self.sql.execute("delete from workers where id = $1", self.chat.worker_id)
            await run(self.sql, "maintenance.interrupt_orphans")
        else:
            status = "completed" if end == "finish" else "failed"
            given = {"status": status, "finish_reason": "length" if end == "finish" else "error"}
            ended = None
            while ended is None or not ended["is_ended"]:
                after_id = row["after_id"]
                ended = await self.chat.finish(
                    self.sql, row["generation_id"], after_id=after_id, content=text, **given
                )
        self.said.add(text)

    async def switch(self) -> None:
        await self.chat.update(self.sql, active_message_id=await self.any())


async def test_two_workers_at_once_lose_nothing_and_leave_a_tree(
    sql: Connection, second: Connection, database_url: str
) -> None:
    """What was said is there, once, because nothing is deleted here; and each answer is to its question."""
    third = await asyncpg.connect(database_url)
    try:
        for seed in range(4):
            chat = await Chat().open(sql)
            await sql.execute(
                "insert into workers (id, started_at, lease_until, lease, steady_since)"
                " values (gen_random_uuid(), 'infinity', now() + interval '1 h', interval '1 h',"
                " now() - interval '3 h')"
            )
            tabs = [Tab(each, chat, 10 * seed + place) for place, each in enumerate((sql, second, third))]
            await asyncio.gather(*(tab.run(STEPS // 12) for tab in tabs))
            await run(sql, "maintenance.interrupt_orphans")  # those that were locked when their worker died
            rows = await sql.fetch(ALL, chat.id)
            stored = [row["content"] for row in rows]
            waiting = await sql.fetch(
                "select content from queued_messages where conversation_id = $1", chat.id
            )
            stored += [row["content"] for row in waiting]
            assert Counter(stored) == Counter({text: 1 for tab in tabs for text in tab.said})
            places = {row["position"]: row for row in rows}
            assert len(places) == len(rows)
            path = [row for row in rows if row["is_active"]]
            parents = dict(zip([row["id"] for row in path[1:]], path, strict=False))
            for row in rows:
                if not row["is_active"] and row["parent_position"] != 0:
                    parents[row["id"]] = places[row["parent_position"]]
                    assert row["parent_position"] < row["position"]
            for row in rows:
                if row["role"] == "assistant":
                    above = parents[row["id"]]
                    while above["role"] != "user":
                        above = parents[above["id"]]
                    assert row["content"].endswith(f"to {above['id']}"), row
    finally:
        await third.close()
