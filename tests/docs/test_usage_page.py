"""docs/operations/usage.md: its statements and commands work, in their order."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from chat_api.dev.postgres.installation import binaries
from tests.docs.page import names, table
from tests.support.queries import Chat, Connection


async def test_its_statements_and_commands_work_in_their_order(
    checkout: Path, database_url: str, sql: Connection
) -> None:
    chat = await Chat().open(sql)
    await chat.finish(sql, await chat.begin(sql))
    await sql.execute(
        "update usage set day = '2026-11-24', cost = 0.06600000000000000000, currency = 'EUR', price = '{}'"
    )
    text = (checkout / "docs" / "operations" / "usage.md").read_text()
    text = text.replace("7b0e7c3a-94c8-4a53-8a60-3b1de6a3f9d2", str(chat.user_id))
    environment = {
        **os.environ,
        "PATH": f"{binaries(None)}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PSQLRC": os.devnull,
        "DATABASE_URL": database_url,
        "USER_ID": str(uuid4()),
    }
    printed = ""
    blocks = re.findall(r"```(sql|sh)\n(.*?)```", text, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["sql", "sql", "sh", "sql"]
    # The first one deletes what the second one is about, if that is two years ago.
    for kind, block in blocks:
        psql = ["psql", database_url, "-v", "ON_ERROR_STOP=1", "-c", block]
        done = await asyncio.to_thread(
            subprocess.run, psql if kind == "sql" else ["sh", "-e", "-c", block], env=environment, timeout=60,
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), block
        printed += done.stdout
    assert printed.count(str(chat.user_id)) == 1, "in the bill"
    assert "2026-11-24" in printed
    assert re.findall(r" (0\.066\d*) *(?:\n|\|)", printed) == ["0.066", "0.066"], "without the zeros"
    assert "each user: 1000000 tokens a month" in printed
    amounts = await sql.fetch("select scope, amount from budgets order by scope, amount")
    assert [tuple(row) for row in amounts] == [("each", 1_000_000), ("everybody", 50), ("user", None)]


async def test_it_names_every_column(sql: Connection) -> None:
    columns = await sql.fetch(
        "select attname from pg_attribute where attrelid = 'usage'::regclass and attnum > 0"
        " and attname not in ('id', 'started_at', 'ended_at')"
    )
    shown = [name for row in table("usage.md", "What is noted") for name in names(row[0])]
    assert sorted(shown) == sorted(row["attname"] for row in columns)
