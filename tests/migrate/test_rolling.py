"""A rolling upgrade: the previous release keeps working while this one migrates and replaces it."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import psycopg
import pytest

from chat_api.dev.postgres.server import Postgres
from chat_api.events import USAGE
from chat_api.settings import Settings
from tests.migrate import releases
from tests.support.model_server import Call, ModelServer
from tests.support.persistent import Persistent
from tests.support.processes import ROOT, Service, free_port, open_conversation, until
from tests.support.reader import Seen, read_events, text_of
from tests.support.tab import open_tab

Headers = dict[str, str]
NOTHING_COUNTED = dict.fromkeys(USAGE)

# What a release may do beside the previous one (sql/README.md), whether or not this one does.
EXPAND = {
    "add_column": "alter table messages add column if not exists mood varchar(20) default 'calm';",
    "add_check": "alter table conversations drop constraint if exists ck_title,"
    " add constraint ck_title check (length(title) < 501) not valid;",
    "validate_check": "alter table conversations validate constraint ck_title;",
    "index_generations": "-- transactional: false\n"
    "create index concurrently if not exists idx_kind on generations (kind);",
    "create_table": "create table if not exists moods (name text primary key);",
}


@pytest.fixture(scope="session")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The previous release."""
    return releases.previous(tmp_path_factory.mktemp("releases"))


@pytest.fixture(scope="session")
def template(postgres: Postgres, old: Path) -> str:
    """A database that the previous release has migrated, to clone."""
    name = "previous_template"
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(f"create database {name}")
    settings = Settings(_env_file=None, database_url=postgres.dsn(name))
    asyncio.run(releases.run(old, settings, "migrate"))
    return name


@pytest.fixture
async def database_url(postgres: Postgres, template: str) -> AsyncIterator[str]:
    """A database that the previous release has migrated."""
    name = f"rolling_{uuid4().hex}"
    admin = await asyncpg.connect(postgres.dsn())
    await admin.execute(f"create database {name} template {template} strategy file_copy")
    yield postgres.dsn(name)
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Answers may finish when a worker drains, and dead workers are noticed soon."""
    return settings.model_copy(update={"drain_seconds": 15.0, "worker_lease": 2.0, "log_level": "INFO"})


async def say(calls: list[Call], over: asyncio.Event) -> str:
    """Say a word every 30 ms in each answer until it ends. Returns what was said."""
    said = ""
    for number in itertools.count():
        word = f"{number}🥟 "
        said += word
        for call in calls:
            call.say(word)
        if over.is_set():
            break
        await asyncio.sleep(0.03)
    for call in calls:
        call.finish()
    return said


@asynccontextmanager
async def streaming(
    services: list[Service], user: Headers, model: ModelServer, count: int
) -> AsyncIterator[list[Persistent]]:
    """Run answers in the background, with two readers each, and check that each reader sees all of it once.

    The readers use `services` in turn, which may change meanwhile.
    """
    over = asyncio.Event()

    def sessions(first: int) -> Any:
        for number in itertools.count(first):
            yield services[number % len(services)].session

    paths = [await open_conversation(services[0].session, user) for _ in range(count)]
    askers = [Persistent(sessions(number), path, user) for number, path in enumerate(paths)]
    listeners = [Persistent(sessions(number + 1), path, user) for number, path in enumerate(paths)]
    async with asyncio.TaskGroup() as group:
        for asker in askers:
            group.create_task(asker.ask("once"))
        calls = [await model.call() for _ in paths]
        for listener in listeners:
            group.create_task(listener.read())
        saying = group.create_task(say(calls, over))
        for reader in askers + listeners:
            await reader.has(3)
        try:
            yield askers + listeners
        finally:
            over.set()
        said = await saying
    for reader in askers + listeners:
        assert [event.seq for event in reader.seen] == list(range(len(reader.seen)))
        assert text_of(reader.seen) == said
        assert reader.seen[-1].data["finish_reason"] == "stop"
    for path in paths:
        async with services[0].session.get(path, headers=user) as response:
            messages = (await response.json())["messages"]
        assert [(each["content"], each["finish_reason"]) for each in messages] == [
            ("hi", None),
            (said, "stop"),
        ]


async def answered(session: aiohttp.ClientSession, path: str, user: Headers, model: ModelServer) -> None:
    """Check that a message gets its answer."""
    async with session.post(f"{path}/messages", json={"content": "Gruß 🥟"}, headers=user) as stream:
        (await model.call()).finish("तुम ", "भी")
        assert text_of(await read_events(stream)) == "तुम भी"


async def test_the_old_releases_streams_and_requests_go_on_while_the_new_one_migrates(
    old: Path, tmp_path: Path, settings: Settings, user: Headers, model: ModelServer
) -> None:
    new = releases.following(tmp_path / "new", "9.9.9", **EXPAND)
    async with Service(settings, tree=old) as one, Service(settings, tree=old) as other:
        path = await open_conversation(one.session, user)
        await answered(one.session, path, user, model)
        async with streaming([one, other], user, model, 6) as readers:
            migrating = asyncio.create_task(releases.run(new, settings, "migrate", "--wait", "30"))
            requests = 0
            while not migrating.done():
                for service in (one, other):
                    for address in ("/api/conversations", path):
                        async with service.session.get(address, headers=user) as response:
                            assert response.status == 200, await response.text()
                    async with service.session.get("/api/ready") as response:
                        assert response.status == 200
                    requests += 3
                async with other.session.put(path, json={"title": f"{requests}"}, headers=user) as response:
                    assert response.status == 200
            assert "applied 9004.create-table" in await migrating
            assert requests > 10
        assert [reader.attached for reader in readers] == [1] * 12, "nobody was cut off"
        await answered(other.session, path, user, model)


@pytest.fixture
async def both(old: Path, settings: Settings) -> AsyncIterator[dict[str, Service]]:
    """A server of each release, on a database that the new one has migrated."""
    async with AsyncExitStack() as stack:
        earlier = await stack.enter_async_context(Service(settings, tree=old))
        await releases.run(ROOT, settings, "migrate")
        yield {"old": earlier, "new": await stack.enter_async_context(Service(settings))}


def in_both(seen: list[Seen]) -> list[tuple[str, dict[str, Any]]]:
    """The events without what the previous release doesn't tell: what the model server counted."""
    for event in seen:
        assert event.data.get("usage", NOTHING_COUNTED) == NOTHING_COUNTED
    return [(each.id, {key: each.data[key] for key in each.data if key != "usage"}) for each in seen]


@pytest.mark.parametrize("direction", [("old", "new"), ("new", "old")], ids=" beside ".join)
async def test_any_request_may_reach_either_release(
    both: dict[str, Service], direction: tuple[str, str], user: Headers, model: ModelServer, sql: Any
) -> None:
    one, other = (both[name].session for name in direction)
    path = await open_conversation(other, user)
    await answered(other, path, user, model)
    # One release answers, and readers at the other see the same: HTTP, WebSocket, and a retried request.
    async with open_tab(other, user) as tab:
        assert (await tab.ask("subscribe", path))["type"] == "ack"
        headers = {**user, "Idempotency-Key": "k"}
        post = {"url": f"{path}/messages", "json": {"content": "and now?"}, "headers": headers}
        async with one.post(**post) as local:
            call = await model.call()
            call.say("so ", "far")
            begun = await read_events(local, 3)
            async with (
                other.get(f"{path}/stream", headers=user) as remote,
                other.post(**post) as repeated,
            ):
                assert await read_events(remote, 3) == begun
                assert await read_events(repeated, 3) == begun
                assert [frame["seq"] for frame in await tab.events(3)] == [0, 1, 2]
                call.finish(", so good")
                ended = await read_events(local)
                assert in_both(await read_events(remote)) == in_both(ended)
                assert in_both(await read_events(repeated)) == in_both(ended)
                assert (await tab.events())[-1]["finish_reason"] == "stop"
    # A stop at the other release.
    async with one.post(f"{path}/regenerate", json={}, headers=user) as local:
        call = await model.call()
        call.say("half")
        await read_events(local, 2)
        async with other.post(f"{path}/messages", json={"content": "?"}, headers=user) as refused:
            assert refused.status == 409
        async with other.post(f"{path}/stop", headers=user) as stopped:
            assert (await stopped.json())["stopped"] is True
        assert (await read_events(local))[-1].data["finish_reason"] == "stopped"
        async with asyncio.timeout(5):
            await call.closed.wait()
    # A crash: the other release saves the text, and takes the next message.
    async with one.post(f"{path}/messages", json={"content": "last words?"}, headers=user) as local:
        (await model.call()).say("more ", "light")
        await read_events(local, 3)
        await until(lambda: sql.fetchval("select exists (select from journal where next_seq = 3)"))
        reader = Persistent(itertools.repeat(other), path, user)
        reading = asyncio.create_task(reader.read())
        await reader.has(3)
        both[direction[0]].send(signal.SIGKILL)
        await reading
        assert text_of(reader.seen) == "more light"
        assert reader.seen[-1].data["finish_reason"] == "interrupted"
    await answered(other, path, user, model)
    async with other.get(path, headers=user) as response:
        messages = (await response.json())["messages"]
    assert [message["content"] for message in messages if message["role"] == "assistant"] == [
        "तुम भी", "half", "more light", "तुम भी",
    ]  # fmt: skip


async def test_a_tree_of_the_new_release_is_a_conversation_to_the_old_one(
    both: dict[str, Service], user: Headers, model: ModelServer, sql: Any
) -> None:
    old, new = both["old"].session, both["new"].session
    path = await open_conversation(new, user)

    async def said(session: aiohttp.ClientSession, request: str, **body: Any) -> None:
        async with session.post(f"{path}/{request}", json=body, headers=user) as stream:
            (await model.call()).finish(f"{request} {await sql.fetchval('select count(*) from generations')}")
            assert (await read_events(stream))[-1].data["finish_reason"] == "stop"

    async def read(session: aiohttp.ClientSession) -> list[dict[str, Any]]:
        async with session.get(path, headers=user) as response:
            messages: list[dict[str, Any]] = (await response.json())["messages"]
            return messages

    async def the_same() -> list[str]:
        seen = {
            name: [(each["id"], each["content"]) for each in await read(both[name].session)] for name in both
        }
        assert seen["old"] == seen["new"]
        return [content for _, content in seen["new"]]

    await said(new, "messages", content="tea?")
    await said(new, "regenerate")
    await said(new, "messages", content="coffee?", parent_id=None)
    await said(new, "regenerate")
    assert await the_same() == ["coffee?", "regenerate 4"]
    first, last = await read(new)
    await said(old, "messages", content="milk?")
    await said(old, "regenerate")  # which deletes the answer, as it always did
    assert await the_same() == ["coffee?", "regenerate 4", "milk?", "regenerate 6"]
    await said(new, "regenerate")
    assert await the_same() == ["coffee?", "regenerate 4", "milk?", "regenerate 7"]
    # Every version that the new release made is still there, whatever the old one did.
    for message_id, shown in (
        (first["siblings"]["ids"][0], ["tea?", "regenerate 2"]),
        (last["siblings"]["ids"][0], ["coffee?", "messages 3"]),
        (last["siblings"]["ids"][1], ["coffee?", "regenerate 4", "milk?", "regenerate 7"]),
    ):
        async with new.put(path, json={"active_message_id": message_id}, headers=user) as response:
            assert response.status == 200, await response.text()
        assert await the_same() == shown
    # The old one goes on in another version, and deletes the conversation with all of them.
    await said(old, "regenerate")
    *_, answer = await read(new)
    assert answer["content"] == "regenerate 8"
    async with old.delete(path, headers=user) as response:
        assert response.status == 204
    assert await sql.fetchval("select count(*) from inactive_messages") == 0


async def test_servers_are_replaced_one_by_one_without_a_lost_token(
    old: Path, settings: Settings, user: Headers, model: ModelServer, sql: Any
) -> None:
    async with AsyncExitStack() as stack:
        leaving = [await stack.enter_async_context(Service(settings, tree=old)) for _ in range(2)]
        services = list(leaving)
        async with streaming(services, user, model, 6) as readers:
            await releases.run(ROOT, settings, "migrate")
            for number in range(2):
                services[number] = await stack.enter_async_context(Service(settings))
                leaving[number].send(signal.SIGTERM)
                await leaving[number].notified("STOPPING=1")
            await asyncio.sleep(0.5)  # only the new workers get new requests
            path = await open_conversation(services[0].session, user)
        for service in leaving:
            assert await service.ended() == 0
        assert any(reader.attached > 1 for reader in readers), "those that were sent on"
        await answered(services[1].session, path, user, model)
        assert await sql.fetchval("select count(*) from generations where status = 'running'") == 0
        await releases.run(ROOT, settings, "sql", "check")


async def test_a_sighup_after_the_codes_replacement_brings_the_new_release(
    old: Path, tmp_path: Path, settings: Settings, user: Headers, model: ModelServer
) -> None:
    """`pip install --upgrade`, `chat-api migrate`, `systemctl reload`: an old supervisor with new workers."""
    new = releases.following(tmp_path / "new", "9.9.9")
    place = tmp_path / "place"
    shutil.copytree(old, place)

    async def version(service: Service) -> str:
        async with service.session.get("/api/openapi.json") as response:
            return str((await response.json())["info"]["version"])

    async with Service(settings, "--workers", "2", port=free_port(), tree=place) as service:
        assert await version(service) != "9.9.9"
        before = await service.workers()
        async with streaming([service], user, model, 6):
            releases.replace_code(place, new)
            await releases.run(place, settings, "migrate")
            service.send(signal.SIGHUP)
            await service.notified("RELOADING=1")
            # The old workers wait until their answers have ended.
            await until(lambda: grown(service, before))
        await service.notified("READY=1")
        assert not set(await service.workers()) & set(before)
        assert [await version(service) for _ in range(4)] == ["9.9.9"] * 4


async def grown(service: Service, before: list[int]) -> bool:
    """Whether there is a worker beside the earlier ones."""
    return bool(set(await service.workers()) - set(before))
