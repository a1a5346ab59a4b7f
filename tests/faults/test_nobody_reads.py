"""Answers that nobody reads: they take little memory, and their connections are cut."""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from uuid import uuid4

from chat_api.settings import Settings
from tests.support.auth_service import AuthService
from tests.support.processes import Service, descriptors, free_port, resident_megabytes, until

READERS = 50
MEGABYTES = 4


async def there(pid: int, count: int) -> bool:
    """Whether a process has so many descriptors."""
    return descriptors(pid) >= count


async def ask(port: int, request: bytes) -> socket.socket:
    """Send a request over a connection whose answer is never read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, request)
    return client


async def test_a_conversation_that_nobody_reads_takes_little_memory_and_its_connections_are_cut(
    settings: Settings, auth: AuthService, sql: Any
) -> None:
    user_id = uuid4()
    token = auth.sign_in(user_id)["Authorization"]
    conversation_id = await sql.fetchval(
        "insert into conversations (user_id) values ($1) returning id", user_id
    )
    await sql.execute(
        "insert into messages (conversation_id, role, content)"
        " select $1, 'user', repeat('x', 100000) from generate_series(1, $2)",
        conversation_id,
        10 * MEGABYTES,
    )
    settings = settings.model_copy(update={"slow_reader_timeout": 3.0, "worker_lease": 15.0})
    port = free_port()
    async with Service(settings, port=port) as service:
        head = (
            f"GET /api/conversations/{conversation_id} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n"
        )
        async with service.session.get("/api/health") as response:
            assert response.status == 200
        before, sockets = resident_megabytes(service.pid), descriptors(service.pid)
        clients = [await ask(port, head.encode()) for _ in range(READERS)]
        await until(lambda: there(service.pid, sockets + READERS))
        most = 0.0

        async def cut() -> bool:
            nonlocal most
            most = max(most, resident_megabytes(service.pid) - before)
            return descriptors(service.pid) < sockets + READERS / 5  # connections to PostgreSQL came too

        await until(cut)
        async with service.session.get("/metrics") as response:
            [counted] = [
                float(line.split()[1])
                for line in (await response.text()).splitlines()
                if line.startswith('chat_readers_cut_total{transport="http"}')
            ]
        assert counted > 0.8 * READERS
        assert most < READERS * MEGABYTES / 3, most
        async with service.session.get("/api/health") as response:
            assert response.status == 200
        for client in clients:
            client.close()
