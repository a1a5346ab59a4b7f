"""The second wall: behind it, a statement without its own check still touches nobody else's rows."""

from __future__ import annotations

import re
from uuid import uuid4

import asyncpg
import psycopg
import pytest

from chat_api.migrate.apply import apply_migrations, rollback_migrations
from chat_api.postgres.session import SessionError
from chat_api.settings import Settings
from tests.conftest import Start
from tests.migrate.catalog import catalog
from tests.privileges.conftest import Script
from tests.support.hot_paths import walk
from tests.support.model_server import ModelServer
from tests.support.queries import Chat, Connection, dump, opened, run

pytestmark = pytest.mark.usefixtures("wall")

WALLED = (
    "conversations",
    "messages",
    "inactive_messages",
    "queued_messages",
    "generations",
    "journal",
    "usage",
)

# Each statement returns or reports how many rows it saw or changed.
FORGETFUL = [
    "with seen as (select id from conversations {where}) select count(*) from seen",
    "with seen as (select content from messages {where}) select count(*) from seen",
    "with seen as (select content from inactive_messages {where}) select count(*) from seen",
    "with seen as (select content from queued_messages {where}) select count(*) from seen",
    "with seen as (select id from generations {where}) select count(*) from seen",
    "with seen as (select events from journal {where}) select count(*) from seen",
    "with done as (update conversations set title = 'stolen' {where} returning id) select count(*) from done",
    "with done as (update generations set error_code = 'x' {where} returning id) select count(*) from done",
    "with done as (delete from conversations {where} returning id) select count(*) from done",
    "with done as (delete from messages {where} returning id) select count(*) from done",
    "with done as (delete from inactive_messages {where} returning id) select count(*) from done",
    "with done as (delete from queued_messages {where} returning id) select count(*) from done",
    "with done as (delete from journal {where} returning first_seq) select count(*) from done",
]
FOR_USER = "where (select chat_for_user('{}', '{}'))"
FOR_EVERYONE = "where (select chat_for_everyone())"


async def a_life(sql: Connection) -> Chat:
    """A user's conversation with a finished answer in three versions, a running one, and a slice of each."""
    chat = await Chat().open(sql, "private")
    for kind in ("send", "regenerate", "regenerate"):
        finished = await chat.begin(sql, kind=kind)
        await chat.speak(sql, (finished, 0, [{}]))
        await chat.finish(sql, finished, content="secret")
    await chat.speak(sql, (await chat.begin(sql, content="whisper"), 0, [{}]))
    for content in ("then", "and then"):
        await sql.execute(
            "insert into queued_messages (conversation_id, content, request) values ($1, $2, '{}')",
            chat.id,
            content,
        )
    return chat


async def count(service: Connection, statement: str, where: str = "") -> int:
    """How many rows a statement saw or changed; it is rolled back."""
    transaction = service.transaction()
    await transaction.start()
    try:
        return await service.fetchval(statement.format(where=where))  # type: ignore[no-any-return]
    finally:
        await transaction.rollback()


@pytest.mark.parametrize("statement", FORGETFUL)
async def test_a_statement_that_says_nothing_sees_and_changes_nothing(
    sql: Connection, service: Connection, statement: str
) -> None:
    await a_life(sql)
    before = await dump(sql)
    assert await service.fetchval(statement.format(where="")) == 0
    assert await dump(sql) == before


@pytest.mark.parametrize("statement", FORGETFUL)
async def test_one_that_forgot_its_condition_sees_and_changes_its_users_rows_alone(
    sql: Connection, service: Connection, statement: str
) -> None:
    mine, theirs = await a_life(sql), await a_life(sql)
    for user_id in (mine.user_id, theirs.user_id):  # and one more each, which must stay
        await Chat(user_id=user_id).open(sql)
    half = await count(service, statement, FOR_EVERYONE) // 2
    assert half > 1
    assert await count(service, statement, FOR_USER.format(mine.user_id, mine.id)) == half
    # For another user's conversation, as the path of a request may name it.
    about_theirs = FOR_USER.format(mine.user_id, theirs.id)
    assert await count(service, statement, about_theirs) == (half if "conversations" in statement else 0)
    assert await count(service, statement, FOR_USER.format(uuid4(), theirs.id)) == 0
    assert await count(service, statement) == 0  # nothing is left of the earlier setting


# $1 is the user, $2 the owner of the conversation $3.
INSERTS = {
    "conversations": "insert into conversations (user_id) select $2 where (select chat_for_user($1, $3))",
    "messages": """
        insert into messages (conversation_id, role, content)
        select $3, 'user', 'x' where $2::uuid is not null and (select chat_for_user($1, $3))
    """,
    "inactive_messages": """
        insert into inactive_messages
            (id, conversation_id, role, content, created_at, position, parent_position)
        select $2, $3, 'user', 'x', now(), 1, 0 where (select chat_for_user($1, $3))
    """,
    "queued_messages": """
        insert into queued_messages (conversation_id, content, request)
        select $3, 'x', '{}' where $2::uuid is not null and (select chat_for_user($1, $3))
    """,
    "generations": """
        insert into generations (id, conversation_id, kind, user_message_id, worker_id)
        select $2, $3, 'send', $2, $2 where (select chat_for_user($1, $3))
    """,
    "journal": """
        insert into journal (generation_id, first_seq, next_seq, events)
        select $4, 7, 8, '[]' where $2::uuid is not null and (select chat_for_user($1, $3))
    """,
}


@pytest.mark.parametrize("table", INSERTS)
async def test_nothing_is_put_to_what_is_another_users(
    sql: Connection, service: Connection, table: str
) -> None:
    mine, theirs = await a_life(sql), await a_life(sql)
    before = await dump(sql)
    generation_id = await sql.fetchval(
        "select id from generations where conversation_id = $1 and status = 'running'", theirs.id
    )
    more = [generation_id] if table == "journal" else []
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await service.execute(INSERTS[table], mine.user_id, theirs.user_id, theirs.id, *more)
    assert await dump(sql) == before
    # The same works for one's own conversation, unless an answer prevents it.
    await sql.execute(
        "update generations set status = 'stopped', finished_at = now() where finished_at is null"
    )
    await service.execute(INSERTS[table], theirs.user_id, theirs.user_id, theirs.id, *more)


async def test_every_hot_path_works_behind_it(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer, sql: Connection
) -> None:
    one_worker, other = await start(settings), await start(settings)
    await walk(one_worker, other, user, model, sql)


async def test_users_see_their_own_beside_each_other(sql: Connection, service: Connection) -> None:
    chats = [await a_life(sql) for _ in range(3)]
    for chat in chats:
        page = {"before_updated_at": None, "before_id": None, "max_rows": 9, "skip": 0}
        assert [
            row["id"] for row in await run(service, "conversations.page", user_id=chat.user_id, **page)
        ] == [chat.id]
        got = await opened(service, chat.id, chat.user_id)
        assert got is not None
        assert (got["messages"].count('"id"'), got["last_seq"]) == (3, 0)
        stranger = chats[0].user_id if chat is not chats[0] else chats[1].user_id
        assert await opened(service, chat.id, stranger) is None


def test_it_comes_down_again_and_leaves_no_trace(script: Script, owner_url: str, template: str) -> None:
    with psycopg.connect(owner_url, autocommit=True) as session:  # which holds no lock
        up = catalog(session)
        script("row-security.sql")  # again
        assert catalog(session) == up
        printed = script("row-security-off.sql")
        assert len(re.findall(r"^ \w+ +\| f$", printed, re.MULTILINE)) == len(WALLED)
        script("row-security-off.sql")
        assert session.execute("select count(*) from pg_policy").fetchone() == (0,)
        walled = "select count(*) from pg_class where relrowsecurity"
        assert session.execute(walled).fetchone() == (0,)


def test_an_older_version_is_not_put_behind_it(script: Script, owner_url: str) -> None:
    """It would see nothing, because it doesn't say for whom it works."""
    with pytest.raises(SessionError, match=r"run deploy/postgresql/row-security-off\.sql first"):
        rollback_to_before_the_wall(owner_url)
    script("row-security-off.sql")
    rollback_to_before_the_wall(owner_url)
    assert "0013.say-for-whom" in apply_migrations(owner_url)


def rollback_to_before_the_wall(owner_url: str) -> None:
    rollback_to_before("0013.say-for-whom", owner_url)


def rollback_to_before(migration: str, owner_url: str) -> None:
    """Roll back one migration at a time, because later ones depend on it."""
    while migration not in rollback_migrations(owner_url):
        pass


TREE = "0041.create-inactive-messages"
POLICIES = """
select policyname, permissive, roles, cmd, qual, with_check from pg_policies where tablename = $1 order by 1
"""
IS_WALLED = "select (relrowsecurity, relforcerowsecurity) from pg_class where relname = $1"


async def test_a_new_table_comes_up_behind_the_wall_that_messages_is_behind(
    sql: Connection, service: Connection, owner: Connection, owner_url: str
) -> None:
    chat = await a_life(sql)
    await sql.execute(
        "create policy narrow on messages as restrictive for select to chat_service, public"
        " using (exists (select from conversations as c where c.id = messages.conversation_id))"
    )
    rollback_to_before(TREE, owner_url)
    assert await sql.fetchval("select count(*) from messages") == 5 + 2
    assert TREE in apply_migrations(owner_url)
    for table in ("inactive_messages", "queued_messages"):
        after = [[*row.values()] for row in await sql.fetch(POLICIES, table)]
        assert [row[0] for row in after] == ["narrow", "of_user"]
        assert [[str(value).replace(f"{table}.", "messages.") for value in row] for row in after] == [
            [*map(str, row.values())] for row in await sql.fetch(POLICIES, "messages")
        ]
        assert await sql.fetchval(IS_WALLED, table) == (True, False)
    # What the service puts there is its user's alone.
    await sql.execute("update generations set status = 'stopped', finished_at = now()")
    for _ in range(2):
        again = await chat.begin(service, kind="regenerate")
        asked = await sql.fetchval("select user_message_id from generations where id = $1", again)
        await chat.finish(service, again, after_id=asked)
    seen = "with seen as (select from inactive_messages {where}) select count(*) from seen"
    assert await count(service, seen, FOR_USER.format(chat.user_id, chat.id)) > 0
    assert await count(service, seen, FOR_USER.format(uuid4(), chat.id)) == 0
    assert await count(service, seen) == 0


async def test_without_a_wall_a_new_table_has_none(sql: Connection, script: Script, owner_url: str) -> None:
    script("row-security-off.sql")
    rollback_to_before(TREE, owner_url)
    apply_migrations(owner_url)
    for table in ("inactive_messages", "queued_messages"):
        assert await sql.fetch(POLICIES, table) == []
        assert await sql.fetchval(IS_WALLED, table) == (False, False)


async def test_a_step_back_that_would_not_see_every_message_is_refused(
    sql: Connection, owner_url: str
) -> None:
    """Where the wall holds for the owner too, by the DBA's own doing."""
    await a_life(sql)
    for table, after in (("queued_messages", 5), ("inactive_messages", 7)):
        before = await sql.fetch(f"select * from {table} order by id")
        assert before
        await sql.execute(f"alter table {table} force row level security")
        with pytest.raises(SessionError, match="row-level security"):
            rollback_to_before(TREE, owner_url)
        await sql.execute(f"alter table {table} no force row level security")
        assert await sql.fetch(f"select * from {table} order by id") == before
        while await sql.fetchval(f"select to_regclass('{table}') is not null"):
            rollback_migrations(owner_url)
        assert await sql.fetchval("select count(*) from messages") == after
    apply_migrations(owner_url)


def test_before_its_tables_are_there_it_says_what_to_do(script: Script, owner_url: str) -> None:
    script("row-security-off.sql")
    rollback_to_before(TREE, owner_url)
    with pytest.raises(AssertionError, match="run chat-api migrate first"):
        script("row-security.sql")
    with psycopg.connect(owner_url) as session:
        assert session.execute("select count(*) from pg_policy").fetchone() == (0,)
    apply_migrations(owner_url)
    script("row-security.sql")
