"""`serve --workers`: several processes, one service."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from chat_api.settings import Settings
from tests.support.model_server import ModelServer
from tests.support.persistent import Persistent
from tests.support.processes import SECONDS, Service, free_port, lives, open_conversation, until
from tests.support.reader import read_events, text_of
from tests.support.tab import open_tab


@pytest.fixture
def lasting(settings: Settings) -> Settings:
    """Settings that let running answers end."""
    return settings.model_copy(update={"drain_seconds": 15.0, "worker_lease": 2.0, "log_level": "INFO"})


@pytest.fixture
async def service(lasting: Settings) -> AsyncIterator[Service]:
    """Two workers on a port."""
    async with Service(lasting, "--workers", "2", port=free_port()) as running:
        yield running


async def figure(service: Service, name: str) -> float:
    """The sum of a metric over all its labels."""
    async with service.session.get("/metrics") as response:
        text = await response.text()
    assert "_created" not in text
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


async def test_one_page_has_the_figures_of_all_workers(
    service: Service, user: dict[str, str], model: ModelServer
) -> None:
    path = await open_conversation(service.session, user)
    for _ in range(20):
        async with service.session.get("/api/health") as response:
            assert response.status == 200
    healthy = 'chat_requests_total{method="GET",route="/api/health",status="200"}'
    for _ in range(4):
        async with service.session.get("/metrics") as response:
            assert f"{healthy} 20.0" in (await response.text()).splitlines()
    async with service.session.post(f"{path}/messages", json={"content": "hi"}, headers=user) as stream:
        call = await model.call()
        assert [await figure(service, "chat_live_generations") for _ in range(4)] == [1.0] * 4
        call.finish("x")
        await read_events(stream)
    assert await figure(service, "chat_generations_total") == 1
    assert await figure(service, "chat_database_connections") >= 1


async def test_a_worker_that_dies_is_replaced_and_its_figures_stay(service: Service) -> None:
    before = await service.workers()
    assert len(before) == 2
    for _ in range(10):
        (await service.session.get("/api/health")).close()
    os.kill(before[0], signal.SIGKILL)

    async def whole() -> list[int]:
        pids = await service.workers()
        return pids if len(pids) == 2 and before[0] not in pids else []

    assert before[1] in await until(whole)
    # No client is refused meanwhile: it waits for the new worker, or gets the other one.
    for _ in range(10):
        async with service.session.get("/api/health", timeout=aiohttp.ClientTimeout(SECONDS)) as response:
            assert response.status == 200
    assert await figure(service, "chat_requests_total") >= 20


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_sigterm_lets_answers_end_and_refuses_new_ones(
    lasting: Settings, user: dict[str, str], model: ModelServer, workers: str
) -> None:
    async with Service(lasting, "--workers", workers) as service:
        path = await open_conversation(service.session, user)
        async with service.session.post(f"{path}/messages", json={"content": "hi"}, headers=user) as stream:
            call = await model.call()
            call.say("so ")
            begun = await read_events(stream, 2)
            service.send(signal.SIGTERM)
            await service.notified("STOPPING=1")

            async def refuses() -> bool:
                try:
                    async with service.session.get("/api/ready") as response:
                        assert response.headers.get("Retry-After") or response.status == 200
                        return response.status == 503
                except aiohttp.ClientOSError:
                    return False  # on an idle connection, which a draining worker closes

            await until(refuses)
            async with (
                service.connect() as keeping,
                keeping.post(f"{path}/messages", json={"content": "hi"}, headers=user) as refused,
            ):
                assert (refused.status, (await refused.json())["code"]) == (503, "draining")
                assert int(refused.headers["Retry-After"]) > 0
                assert refused.headers["Connection"] == "close"
            call.finish("far")
            events = begun + await read_events(stream)
        assert text_of(events) == "so far"
        assert events[-1].data["finish_reason"] == "stop"
        assert await service.ended() == 0
        assert list(service.temporary.iterdir()) == []


async def test_a_draining_server_ends_idle_connections_and_hears_the_others(
    lasting: Settings, user: dict[str, str], model: ModelServer
) -> None:
    port = free_port()
    ask = b"GET /api/ready HTTP/1.1\r\nHost: chat\r\n\r\n"
    async with Service(lasting, port=port) as service:
        path = await open_conversation(service.session, user)
        async with service.session.post(f"{path}/messages", json={"content": "hi"}, headers=user) as stream:
            call = await model.call()
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            (idle, used), (fresh, unused), (slow, busy) = opened
            used.write(ask)
            assert (await idle.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            busy.write(ask[:20])
            await asyncio.sleep(0.1)  # there is no event for its arrival
            service.send(signal.SIGTERM)
            await service.notified("STOPPING=1")
            async with asyncio.timeout(5):
                await idle.read()
                for reader, writer, rest in [(fresh, unused, ask), (slow, busy, ask[20:])]:
                    writer.write(rest)
                    answer = await reader.read()
                    assert answer.startswith(b"HTTP/1.1 503")
                    assert b"\r\nConnection: close\r\n" in answer
            for _, writer in opened:
                writer.close()
            call.finish("on")
            assert text_of(await read_events(stream)) == "on"
        assert await service.ended() == 0


async def test_a_draining_server_hears_its_sockets(
    lasting: Settings, user: dict[str, str], model: ModelServer
) -> None:
    async with Service(lasting) as service:
        path = await open_conversation(service.session, user)
        async with open_tab(service.session, user) as tab:
            assert (await tab.ask("send", path, content="hi"))["type"] == "ack"
            (await model.call()).say("so far")
            assert len(await tab.events(2)) == 2
            service.send(signal.SIGTERM)
            await service.notified("STOPPING=1")

            async def refused() -> bool:
                return (await tab.ask("regenerate", path)).get("code") == "draining"

            await until(refused)
            await tab.say("stop", path)
            frames = [await tab.hear() for _ in range(2)]
            assert {frame["type"] for frame in frames} == {"done", "ack"}
            assert await tab.close_code() == 1001
        assert await service.ended() == 0


async def test_a_rolling_restart_costs_no_reader_a_token(
    service: Service, user: dict[str, str], model: ModelServer
) -> None:
    before = await service.workers()
    sessions = itertools.repeat(service.session)
    paths = [await open_conversation(service.session, user) for _ in range(20)]
    async with asyncio.TaskGroup() as group:
        askers = [Persistent(sessions, path, user) for path in paths]
        for asker in askers:
            group.create_task(asker.ask("once"))
        calls = [await model.call() for _ in paths]
        # Each answer gets a second reader. Half of them are on the worker that doesn't write the answer.
        listeners = [Persistent(sessions, path, user) for path in paths]
        for listener in listeners:
            group.create_task(listener.read())
        for listener in listeners:
            await listener.has(1)

        service.send(signal.SIGHUP)
        await service.notified("RELOADING=1")
        ended = asyncio.create_task(service.notified("READY=1"))
        said, after = 0, 0
        # However slow the machine, the answers go on until a reader has moved, and for a while after.
        async with asyncio.timeout(60):
            while not ended.done() and after < 20:
                for call in calls:
                    call.say(f"{said} ")
                said += 1
                after += any(reader.attached > 1 for reader in listeners)
                await asyncio.wait({ended}, timeout=0.05)
        for call in calls:
            call.finish()
        await ended
    expected = "".join(f"{number} " for number in range(said))
    for reader in askers + listeners:
        assert [event.seq for event in reader.seen] == list(range(said + 2))
        assert text_of(reader.seen) == expected
        assert reader.seen[-1].data["finish_reason"] == "stop"
    assert any(reader.attached > 1 for reader in listeners)
    assert len(model.requests) == 20
    assert not set(await service.workers()) & set(before)
    for path in paths:
        async with service.session.get(path, headers=user) as response:
            messages = (await response.json())["messages"]
        assert [message["content"] for message in messages] == ["hi", expected]


async def test_workers_end_with_their_supervisor(service: Service) -> None:
    workers = await service.workers()
    service.send(signal.SIGKILL)
    await service.ended()

    async def gone() -> bool:
        return not any(lives(pid) for pid in workers)

    await until(gone)
    with contextlib.suppress(aiohttp.ClientConnectorError):
        await service.session.get("/api/health")
        pytest.fail("somebody still listens")


async def test_a_second_signal_ends_everything_at_once(
    service: Service, user: dict[str, str], model: ModelServer
) -> None:
    path = await open_conversation(service.session, user)
    workers = await service.workers()
    async with service.session.post(f"{path}/messages", json={"content": "hi"}, headers=user):
        await model.call()
        service.send(signal.SIGTERM)
        await service.notified("STOPPING=1")
        service.send(signal.SIGINT)
        assert await service.ended() == -signal.SIGINT

    async def gone() -> bool:
        return not any(lives(pid) for pid in workers)

    await until(gone)


async def test_workers_that_cannot_start_end_the_service_with_their_status(
    lasting: Settings, tmp_path: Path
) -> None:
    # Python runs this before anything else, so the worker fails as it would with bad settings.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'chat_api.serving.worker' in sys.orig_argv: os._exit(2)\n"
    )
    service = Service(lasting, "--workers", "2", PYTHONPATH=str(tmp_path))
    await service.launch()
    assert await service.ended() == 2
    await service.__aexit__()


async def test_a_restart_that_fails_leaves_the_workers_and_a_dying_one_costs_the_others_nothing(
    lasting: Settings, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"if 'chat_api.serving.worker' in sys.orig_argv and os.path.exists({str(broken)!r}):\n"
        f"    open({str(broken)!r}, 'a').write('died ')\n"
        "    os._exit(1)\n"
    )

    async def second_died() -> bool:
        return await asyncio.to_thread(broken.read_text) == "died died "

    async with Service(lasting, "--workers", "2", port=free_port(), PYTHONPATH=str(tmp_path)) as service:

        async def answers() -> bool:
            try:
                async with service.session.get("/api/health", timeout=aiohttp.ClientTimeout(5)) as response:
                    return response.status == 200
            except aiohttp.ServerTimeoutError:
                raise
            except aiohttp.ClientConnectionError:
                return False  # it waited for the worker that just died again

        before = await service.workers()
        broken.touch()
        service.send(signal.SIGHUP)
        await service.notified("RELOADING=1")
        await service.notified("READY=1")
        assert await service.workers() == before
        os.kill(before[0], signal.SIGKILL)
        await until(second_died)
        for _ in range(10):  # the kernel chooses one of the two listeners
            await until(answers)
        assert await service.workers() == before[1:]
