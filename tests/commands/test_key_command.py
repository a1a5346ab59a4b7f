"""`chat-api key`: API keys are made by the owner of the tables, shown once and kept as digests."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from uuid import UUID, uuid4, uuid5

import pytest

from chat_api.cli import main
from tests.support.queries import Connection

Run = Callable[..., tuple[int, str, str]]
USER = UUID("0190aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee")
NAMED = ["--name", "nightly report"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `chat-api key …` as the owner. Returns its exit status, its output, and what it says beside it."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("AUTH", "service,keys")

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main(["key", *(str(each) for each in arguments)])
        written = capsys.readouterr()
        return status, written.out, written.err

    return run


async def test_a_key_is_printed_once_and_stored_as_its_digest(run: Run, sql: Connection) -> None:
    status, printed, said = run("create", "--user", USER, *NAMED)
    assert (status, said.count(printed.strip())) == (0, 0)
    key = printed.removesuffix("\n")
    assert re.fullmatch("sck_[0-9a-f]{40}", key)
    row = await sql.fetchrow("select * from api_keys")
    assert row is not None
    assert row["digest"] == hashlib.sha256(key.encode()).digest()
    assert (row["user_id"], row["name"], row["scopes"]) == (USER, "nightly report", ["read", "chat"])
    assert (row["expires_at"], row["last_used_at"]) == (None, None)
    assert row["shown"] == key[:10]
    assert key not in str(dict(row)), "no column has the key itself"
    line = f"{row['id']}  {key[:10]}…  nightly report, user {USER}: read, chat; never expires; never used\n"
    assert said.startswith(f"made: {line}The key is shown this once.")
    assert run("list") == (0, line, "")
    assert run("list", "--user", uuid4()) == (0, "there are no keys\n", "")


def test_no_two_keys_are_alike(run: Run) -> None:
    keys = {run("create", "--user", USER, *NAMED)[1] for _ in range(5)}
    assert len(keys) == 5


async def test_scopes_and_days_are_stored(run: Run, sql: Connection) -> None:
    status, printed, _ = run(
        "create", "--user", USER, *NAMED, "--scopes", "admin, read", "--days", 90, "--json"
    )
    made = json.loads(printed)
    assert (status, made["scopes"], made["key"][:4]) == (0, ["read", "admin"], "sck_")
    days = await sql.fetchval("select round(extract(epoch from expires_at - now()) / 86400) from api_keys")
    assert days == 90
    (listed,) = json.loads(run("list", "--json")[1])
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert "digest" not in listed


@pytest.mark.parametrize(
    "arguments",
    [
        ["--user", "alice", *NAMED],
        [*NAMED],
        ["--user", USER],
        ["--user", USER, "--subject", "alice", *NAMED],
        ["--user", USER, "--name", " "],
        ["--user", USER, "--name", "x" * 101],
        ["--user", USER, "--name", "two\nlines"],
        ["--user", USER, *NAMED, "--scopes", "write"],
        ["--user", USER, *NAMED, "--scopes", ""],
        ["--user", USER, *NAMED, "--days", "0"],
        ["--user", USER, *NAMED, "--days", "3651"],
        ["--user", USER, *NAMED, "--days", "-1"],
    ],
)
async def test_what_cannot_be_a_key_is_refused(run: Run, sql: Connection, arguments: list[object]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("create", *arguments)
    assert ended.value.code == 2
    assert await sql.fetchval("select count(*) from api_keys") == 0


async def test_a_users_name_at_the_provider_gives_the_id_that_the_service_gives_it(
    run: Run, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _, said = run("create", "--subject", "auth0|4711", *NAMED)
    assert (status, said) == (
        2,
        "chat-api: --subject needs the service's AUTH and AUTH_ISSUER, of which the user's id is made\n",
    )
    monkeypatch.setenv("AUTH_ISSUER", "https://id.example/")
    assert run("create", "--subject", "auth0|4711", *NAMED)[0] == 0
    namespace = uuid5(UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8"), "https://id.example/")  # RFC 9562's URLs
    assert await sql.fetchval("select user_id from api_keys") == uuid5(namespace, "auth0|4711")


async def test_a_revoked_key_is_gone(run: Run, sql: Connection) -> None:
    key = run("create", "--user", USER, *NAMED)[1].strip()
    key_id = await sql.fetchval("select id from api_keys")
    status, printed, _ = run("revoke", key_id)
    assert status == 0
    assert printed.startswith(f"revoked: {key_id}  {key[:10]}…  nightly report")
    assert printed.endswith("refuse it within 60 seconds.\n")
    assert await sql.fetchval("select count(*) from api_keys") == 0
    assert run("revoke", key_id) == (
        1,
        "",
        f"chat-api: there is no key {key_id}: `chat-api key list` lists them\n",
    )


def test_it_says_if_the_service_takes_no_keys(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "AUTH=service,keys" not in run("create", "--user", USER, *NAMED)[2]
    monkeypatch.setenv("AUTH", "service")
    assert "AUTH=service,keys" in run("create", "--user", USER, *NAMED)[2]


async def test_the_services_role_makes_no_keys_and_may_revoke_one(
    run: Run, sql: Connection, service_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("create", "--user", USER, *NAMED)
    monkeypatch.setenv("DATABASE_URL", service_url)
    status, printed, said = run("create", "--user", USER, *NAMED)
    assert (status, printed) == (1, "")
    owner = await sql.fetchval("select current_user")
    assert said.startswith(
        f"chat-api: only the owner of the tables, {owner}, makes keys, and this is service_"
    )
    assert run("list")[0] == 0
    assert run("revoke", await sql.fetchval("select id from api_keys"))[0] == 0
    assert await sql.fetchval("select count(*) from api_keys") == 0


async def test_erasing_a_user_takes_their_keys_and_tickets_and_nobody_elses(
    run: Run, sql: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    other = uuid4()
    for user_id in (USER, other):
        run("create", "--user", user_id, *NAMED)
        await sql.execute(
            "insert into tickets (digest, user_id, expires_at, token_expires_at)"
            " values (sha256(convert_to($1, 'UTF8')), $2, now(), 'infinity')",
            str(user_id),
            user_id,
        )
    assert main(["user", "delete", str(USER), "--yes"]) == 0
    capsys.readouterr()
    assert [row[0] for row in await sql.fetch("select user_id from api_keys")] == [other]
    assert [row[0] for row in await sql.fetch("select user_id from tickets")] == [other]


def test_where_the_table_is_missing_it_says_what_to_do(
    run: Run, new_database: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", new_database())
    for action in (["list"], ["create", "--user", USER, *NAMED], ["revoke", uuid4()]):
        status, _, said = run(*action)
        assert status == 1
        assert said.startswith("chat-api: there is no table api_keys here")
        assert "run `chat-api migrate`" in said
