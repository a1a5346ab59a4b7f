"""Limits of `chat-api serve --workers`, as an operator runs and changes it."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

from chat_api.settings import Settings
from tests.support.model_server import ModelServer
from tests.support.processes import Service, free_port, open_conversation

User = dict[str, str]


async def ask(service: Service, user: User, path: str) -> int:
    """Send a message, read its answer to the end, and return the status."""
    ask = service.session.post(f"{path}/messages", json={"content": "hi", "stream": False}, headers=user)
    async with ask as response:
        await response.read()
        return response.status


async def test_two_processes_count_together(settings: Settings, user: User, model: ModelServer) -> None:
    model.say = ["a"]
    limited = settings.model_copy(update={"sends_per_user": "20/hour", "log_level": "INFO"})
    async with Service(limited, "--workers", "2", port=free_port()) as service:
        paths = [await open_conversation(service.session, user) for _ in range(50)]
        found = Counter(await asyncio.gather(*(ask(service, user, path) for path in paths)))
        assert found == {200: 20, 429: 30}
        for _ in range(4):  # any of the workers
            async with service.session.get("/metrics") as response:
                assert 'chat_refusals_total{limit="sends_per_user"} 30.0' in await response.text()


async def test_sighup_takes_the_limits_of_now(
    settings: Settings, user: User, model: ModelServer, tmp_path: Path
) -> None:
    model.say = ["a"]
    file = tmp_path / ".env"
    file.write_text("SENDS_PER_USER=2/hour\nMAX_CONVERSATIONS_PER_USER=1\n")
    async with Service(settings, "--workers", "2", port=free_port(), tree=tmp_path) as service:
        path = await open_conversation(service.session, user)
        assert [await ask(service, user, path) for _ in range(4)] == [200, 200, 429, 429]
        file.write_text("SENDS_PER_USER=0\n")
        service.send(signal.SIGHUP)
        await service.notified("RELOADING=1")
        await service.notified("READY=1")
        assert [await ask(service, user, path) for _ in range(4)] == [200] * 4
        await open_conversation(service.session, user)
