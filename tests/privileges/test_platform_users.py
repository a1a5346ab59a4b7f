"""The platform's users: the service's role sees what it is granted, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Client
from tests.http.test_admin import USERS, Sql
from tests.privileges.conftest import SERVICE
from tests.support.auth_service import AuthService

ALL = "id, email, name, provider, created_at, last_login_at"


@pytest.fixture
async def users(sql: Sql) -> Sql:
    """The platform's table with one user, as a superuser."""
    await sql.execute(USERS)
    await sql.execute("insert into users (email, name, avatar_url) values ('a@b', 'A', 'secret')")
    return sql


async def answer(client: Client, auth: AuthService) -> tuple[int, str]:
    response = await client.get("/api/admin/users", headers=auth.sign_in(is_admin=True))
    return response.status, await response.text()


@pytest.mark.parametrize("columns", [None, "email, name", "avatar_url"])
async def test_what_is_not_granted_is_not_told(
    client: Client, auth: AuthService, users: Sql, columns: str | None
) -> None:
    if columns is not None:
        await users.execute(f"grant select ({columns}) on users to {SERVICE}")
    status, text = await answer(client, auth)
    assert (status, '"users_not_readable"' in text) == (501, True)


@pytest.mark.parametrize(
    ("right", "shown"),
    [
        ("select", ALL),
        (f"select ({ALL})", ALL),
        ("select (id, provider)", "id, provider"),
        ("select (id)", "id"),
    ],
)
async def test_each_column_is_read_if_it_is_granted(
    client: Client, auth: AuthService, users: Sql, right: str, shown: str
) -> None:
    await users.execute(f"grant {right} on users to {SERVICE}")
    status, text = await answer(client, auth)
    assert status == 200
    found = dict(re.findall(r'"(\w+)":("[^"]*"|null|\d+)', text))
    assert {name for name in ALL.split(", ") if found[name] != "null"} == set(shown.split(", "))
    assert "secret" not in text


async def test_the_guides_grant_is_enough(
    client: Client, auth: AuthService, users: Sql, checkout: Path
) -> None:
    guide = (checkout / "docs" / "operations" / "privileges.md").read_text()
    (grant,) = re.findall(r"^grant select \(.*\) on users to .*;$", guide, re.MULTILINE)
    await users.execute(grant)
    status, text = await answer(client, auth)
    assert (status, '"name":"A"' in text) == (200, True)
    await users.execute(f"revoke select ({ALL}) on users from {SERVICE}")
    assert (await answer(client, auth))[0] == 501
