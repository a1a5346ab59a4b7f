"""docs/operations/audit.md: its commands find in the service's log who read and deleted what."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path

from chat_api.settings import Settings
from tests.support.auth_service import AuthService
from tests.support.chat import Sql
from tests.support.processes import Service, open_conversation
from tests.support.programs import program


async def found(checkout: Path, log: Path, **variables: str) -> list[list[str]]:
    """What the page's commands print, without the times. A line of `#` begins what each of them prints."""
    page = (checkout / "docs" / "operations" / "audit.md").read_text()
    (block,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    program("jq", "apt install jq")
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-e", "-c", block.replace("jq -r", "echo '#'; jq -r")],
        capture_output=True, text=True, timeout=60, check=False, cwd=log.parent,
        env={**os.environ, **variables},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split("\t")[1:] for line in done.stdout.splitlines()]


async def test_the_service_log_tells_who_read_and_deleted_what(
    checkout: Path, settings: Settings, auth: AuthService, user: dict[str, str], sql: Sql, tmp_path: Path
) -> None:
    stranger = auth.sign_in()
    log = tmp_path / "chat.log"
    with log.open("wb") as file:
        async with Service(settings, stderr=file.fileno()) as service:
            path, other = [await open_conversation(service.session, user) for _ in range(2)]
            owner = str(await sql.fetchval("select user_id from conversations limit 1"))
            for method, whose in (("GET", user), ("GET", stranger), ("DELETE", stranger), ("DELETE", user)):
                async with service.session.request(method, path, headers=whose):
                    pass
            async with service.session.get(other, headers=user):
                pass
    lines = await found(checkout, log, CONVERSATION_ID=path.rpartition("/")[2], USER_ID=owner)
    assert [(line[0] == owner, *line[1:]) for line in lines[1:5]] == [
        (True, "GET", path, "200", "unix"),
        (False, "GET", path, "404", "unix"),
        (False, "DELETE", path, "404", "unix"),
        (True, "DELETE", path, "204", "unix"),
    ]
    assert lines[5:] == [[], [path, "unix"]]
