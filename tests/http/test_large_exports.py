"""A conversation of 100,000 messages is exported in memory that doesn't grow with it."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import aiohttp

from chat_api.settings import Settings
from tests.commands.test_user_command import forked
from tests.support.auth_service import AuthService
from tests.support.processes import Service
from tests.support.queries import Chat, Connection

MESSAGES = 100_000


def peak_megabytes(pid: int) -> float:
    """The most that a process has had in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


async def large(sql: Connection, user_id: UUID) -> Chat:
    """100,000 messages with thinking, calls and emoji, every hundredth with another version."""
    chat = await forked(sql, user_id)
    await sql.execute(
        """
        insert into messages (
            conversation_id, role, content, position, parent_position, reasoning, tool_calls, finish_reason
        )
        select
            $1, 'assistant', '🥟 ' || repeat(md5(n::text), 4), 1000000 + 2 * n + 1,
            case when mod(n, 100) = 0 then 1000000 + 2 * n - 1 end,
            '👩‍👩‍👧 ' || n, '[{"id":"c1","name":"f","arguments":"{}"}]', 'tool_calls'
        from generate_series(1, $2::int) as n
        """,
        chat.id,
        MESSAGES,
    )
    await sql.execute(
        """
        insert into inactive_messages (
            id, conversation_id, role, content, created_at, position, parent_position
        )
        select chat_uuid7(), $1, 'assistant', 'another', now(), 1000000 + 2 * n, 1000000 + 2 * n - 1
        from generate_series(100, $2::int, 100) as n
        """,
        chat.id,
        MESSAGES,
    )
    return chat


async def download(session: aiohttp.ClientSession, path: str, user: dict[str, str], file: Path) -> int:
    async with session.get(path, headers=user) as response:
        assert response.status == 200
        size = 0
        with file.open("wb") as opened:
            async for piece in response.content.iter_any():
                size += opened.write(piece)
    return size


async def test_100_000_messages_are_exported_in_flat_memory(
    sql: Connection, settings: Settings, auth: AuthService, tmp_path: Path
) -> None:
    chat = await large(sql, uuid4())
    user, file = auth.sign_in(chat.user_id), tmp_path / "export"
    async with Service(settings) as service:
        assert await download(service.session, "/api/export", auth.sign_in(), file) < 500
        before = peak_megabytes(service.pid)
        for path, mark, count in (
            ("/api/export", b'{"type":"message",', 8 + MESSAGES + MESSAGES / 100),
            (f"/api/conversations/{chat.id}/export", b"## Assistant", 1 + MESSAGES),  # what is shown
        ):
            assert await download(service.session, path, user, file) > 25_000_000
            assert peak_megabytes(service.pid) < before + 10
            with file.open("rb") as opened:
                assert sum(line.startswith(mark) for line in opened) == count
