"""Limits: exact under concurrency and across workers, with true waiting times, and only for their subject."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from structlog.testing import capture_logs

from chat_api.description.problems import all_errors
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.auth_service import AuthService
from tests.support.chat import Chat, Client, Sql, no_answer_lives, open_chat, until
from tests.support.model_server import ModelServer
from tests.support.queries import kill_workers, run
from tests.support.reader import read_events
from tests.support.tab import open_tab
from tests.support.wire import DatabaseWire

User = dict[str, str]
WHOLE = {"stream": False}


@pytest.fixture
def limited(start: Start, settings: Settings) -> Any:
    """Start services with these limits, on the test's database."""

    async def run(**limits: Any) -> Client:
        client: Client = await start(settings.model_copy(update=limits))
        return client

    return run


def at(user: User, address: str) -> User:
    """Headers for this user from that address, as a trusted proxy sends them."""
    return {**user, "X-Forwarded-For": address}


async def refused(response: ClientResponse, code: str) -> int:
    """Check that the response is a 429 with this code and a sentence. Returns its Retry-After."""
    assert response.status == 429, await response.text()
    body = await response.json()
    assert body["code"] == code
    assert re.fullmatch("[A-Z].*[.]", body["detail"])
    return int(response.headers["Retry-After"])


async def waited(sql: Sql, seconds: float) -> None:
    """Let time pass for what is counted in the database."""
    await sql.execute("update allowances set full_at = full_at - make_interval(secs => $1)", seconds)


async def statuses(responses: list[ClientResponse]) -> Counter[int]:
    for response in responses:
        await response.read()
    return Counter(response.status for response in responses)


async def chats(clients: list[Client], user: User, count: int) -> list[Chat]:
    """Create this many conversations, using the clients in turn."""
    return [await open_chat(clients[number % len(clients)], user) for number in range(count)]


async def test_of_fifty_messages_at_once_on_two_workers_exactly_so_many_pass(
    limited: Any, user: User, model: ModelServer, sql: Sql
) -> None:
    model.say = ["a"]
    clients = [await limited(sends_per_user="20/hour") for _ in range(2)]
    all_chats = await chats(clients, user, 50)
    responses = await asyncio.gather(*(chat.send(**WHOLE) for chat in all_chats))
    assert await statuses(responses) == {200: 20, 429: 30}
    assert await sql.fetchval("select count(*) from messages where role = 'user'") == 20
    assert len(model.requests) == 20
    for response in responses:
        if response.status == 429:
            assert 170 < await refused(response, "sending_too_fast") <= 180


async def test_of_many_users_at_one_address_exactly_so_many_pass_in_all(
    limited: Any, auth: AuthService, model: ModelServer
) -> None:
    model.say = ["a"]
    clients = [await limited(sends_per_address="20/hour", sends_per_user="3/hour") for _ in range(2)]
    users = [at(auth.sign_in(), "203.0.113.9") for _ in range(10)]
    all_chats = [chat for user in users for chat in await chats(clients, user, 4)]
    responses = await asyncio.gather(*(chat.send(**WHOLE) for chat in all_chats))
    assert await statuses(responses) == {200: 20, 429: 20}
    by_user = Counter(
        chat.user["Authorization"]
        for chat, response in zip(all_chats, responses, strict=True)
        if response.status == 200
    )
    assert max(by_user.values()) <= 3


async def test_retry_after_is_true_to_the_second(
    limited: Any, user: User, model: ModelServer, sql: Sql
) -> None:
    model.say = ["a"]
    chat = await open_chat(await limited(sends_per_user="7/minute"), user)
    for _ in range(7):
        assert (await chat.send(**WHOLE)).status == 200
    wait = await refused(await chat.send(), "sending_too_fast")
    assert wait in (8, 9)
    await waited(sql, wait - 1)
    assert await refused(await chat.send(), "sending_too_fast") == 1
    await waited(sql, 1)
    assert (await chat.send(**WHOLE)).status == 200
    assert await refused(await chat.send(), "sending_too_fast") in (8, 9)


async def test_a_whole_allowance_comes_back_and_no_more_than_that(
    limited: Any, user: User, model: ModelServer, sql: Sql
) -> None:
    model.say = ["a"]
    chat = await open_chat(await limited(sends_per_user="3/day"), user)
    for _ in range(3):
        assert (await chat.send(**WHOLE)).status == 200
    await waited(sql, 10 * 86400)
    found = await statuses([await chat.send(**WHOLE) for _ in range(5)])
    assert found == {200: 3, 429: 2}


async def test_the_databases_clock_counts_and_not_the_machines(
    limited: Any, user: User, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.say = ["a"]
    chat = await open_chat(await limited(sends_per_user="1/hour"), user)
    assert (await chat.send(**WHOLE)).status == 200
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 86400)
    assert await refused(await chat.send(), "sending_too_fast") > 3500


async def test_what_was_used_is_remembered_by_a_service_that_starts_anew(
    limited: Any, user: User, model: ModelServer
) -> None:
    model.say = ["a"]
    chat = await open_chat(await limited(sends_per_user="1/hour"), user)
    assert (await chat.send(**WHOLE)).status == 200
    await chat.client.close()
    again = Chat(await limited(sends_per_user="1/hour"), chat.path, user)
    await refused(await again.send(), "sending_too_fast")
    more = Chat(await limited(sends_per_user="3/hour"), chat.path, user)
    assert await statuses([await more.send(**WHOLE) for _ in range(2)]) == {429: 2}, "an hour's are used"
    free = Chat(await limited(), chat.path, user)
    assert (await free.send(**WHOLE)).status == 200


async def test_a_retry_is_neither_refused_nor_counted(
    limited: Any, user: User, model: ModelServer, sql: Sql
) -> None:
    clients = [await limited(sends_per_user="2/hour", max_answers_per_user=1) for _ in range(2)]
    (one, other) = (await open_chat(clients[0], user), await open_chat(clients[1], user))
    model.say = ["a"]
    # At the same moment, on both workers:
    twins = [Chat(clients[number % 2], one.path, user) for number in range(10)]
    assert await statuses(await asyncio.gather(*(twin.send(key="k", **WHOLE) for twin in twins))) == {200: 10}
    assert len(model.requests) == 1
    assert (await other.send(key="l", **WHOLE)).status == 200
    assert await refused(await other.send(key="m"), "sending_too_fast") > 1
    # Once the allowance is used up, and later:
    for chat, key in ((one, "k"), (other, "l")):
        assert (await chat.send(key=key, **WHOLE)).status == 200
    assert len(model.requests) == 2
    used = await sql.fetchval("select round(extract(epoch from full_at - now()) / 1800) from allowances")
    assert used == 2


async def test_what_is_refused_counts_nothing(
    limited: Any, auth: AuthService, user: User, model: ModelServer, sql: Sql
) -> None:
    client = await limited(sends_per_user="2/hour", sends_per_address="100/hour")
    user = at(user, "203.0.113.9")
    chat = await open_chat(client, user)
    stream, call, _ = await chat.begin(model)
    for refusal, status in [
        (chat.send(), 409),
        (chat.regenerate(), 409),
        (chat.send(""), 422),
        (chat.send(temperature=9), 422),
        (Chat(client, chat.path, at(auth.sign_in(), "203.0.113.9")).send(), 404),
        (Chat(client, f"{chat.path}x", user).send(), 404),
        ((await open_chat(client, user)).regenerate(), 400),
    ]:
        assert (await refusal).status == status
    call.finish("x")
    await read_events(stream)
    rows = await sql.fetch("select name, extract(epoch from full_at - now()) as seconds from allowances")
    assert {row["name"]: float(row["seconds"]) for row in rows} == {
        "sends_per_user": pytest.approx(1800, abs=10),
        "sends_per_address": pytest.approx(36, abs=10),
    }


async def test_a_refusal_by_one_limit_takes_nothing_from_another(
    limited: Any, auth: AuthService, model: ModelServer, sql: Sql
) -> None:
    model.say = ["a"]
    client = await limited(sends_per_user="9/hour", sends_per_address="1/hour")
    users = [at(auth.sign_in(), "203.0.113.9") for _ in range(2)]
    one, other = [await open_chat(client, user) for user in users]
    assert (await one.send(**WHOLE)).status == 200
    for _ in range(3):
        await refused(await other.send(), "address_sending_too_fast")
    assert await sql.fetchval("select count(*) from allowances") == 2, "one user's, and the address's"


async def test_answering_anew_counts_as_sending_does(limited: Any, user: User, model: ModelServer) -> None:
    model.say = ["a"]
    chat = await open_chat(await limited(sends_per_user="2/hour"), user)
    assert (await chat.send(**WHOLE)).status == 200
    assert (await chat.regenerate(**WHOLE)).status == 200
    await refused(await chat.regenerate(), "sending_too_fast")


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        ("203.0.113.9", "::ffff:203.0.113.9", "203.0.113.10"),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"),
        ("2001:DB8:1:2:0::1", "[2001:db8:1:2::1]:4711", "2001:db8:1:2:0::1, 203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "7.7.7.7, 203.0.113.9", "6.6.6.6"),  # a forged entry on the left
    ],
)
async def test_an_address_is_the_clients_and_one_of_ipv6_its_network(
    limited: Any, user: User, model: ModelServer, one: str, same: str, other: str
) -> None:
    model.say = ["a"]
    chat = await open_chat(await limited(sends_per_address="1/hour"), user)
    assert (await Chat(chat.client, chat.path, at(user, one)).send(**WHOLE)).status == 200
    await refused(await Chat(chat.client, chat.path, at(user, same)).send(), "address_sending_too_fast")
    assert (await Chat(chat.client, chat.path, at(user, other)).send(**WHOLE)).status == 200


async def test_a_stranger_cannot_choose_his_address_and_a_proxy_is_not_its_clients(
    limited: Any, user: User, model: ModelServer
) -> None:
    model.say = ["a"]
    stranger = await open_chat(await limited(sends_per_address="1/hour", trusted_proxies="none"), user)
    assert (await Chat(stranger.client, stranger.path, at(user, "1.1.1.1")).send(**WHOLE)).status == 200
    await refused(
        await Chat(stranger.client, stranger.path, at(user, "2.2.2.2")).send(), "address_sending_too_fast"
    )
    proxied = await open_chat(await limited(sends_per_address="1/hour"), user)
    for _ in range(3):  # a proxy that doesn't say for whom it sends requests
        assert (await proxied.send(**WHOLE)).status == 200


async def test_a_user_has_so_many_answers_at_once_on_two_workers_and_no_more(
    limited: Any, auth: AuthService, user: User, model: ModelServer, sql: Sql
) -> None:
    clients = [await limited(max_answers_per_user=5) for _ in range(2)]
    all_chats = await chats(clients, user, 30)
    responses = await asyncio.gather(*(chat.send() for chat in all_chats))
    streams = [response for response in responses if response.status == 200]
    assert len(streams) == 5
    for response in responses:
        if response.status != 200:
            assert await refused(response, "too_many_answers") == 5
    assert await sql.fetchval("select count(*) from generations where status = 'running'") == 5
    stranger = await open_chat(clients[0], auth.sign_in())
    assert (await stranger.send()).status == 200, "another user has places of his own"
    # However an answer ends, it frees a place: by the model, a stop, a deletion, or its worker's death.
    busy = [chat for chat, response in zip(all_chats, responses, strict=True) if response.status == 200]
    idle = iter([chat for chat, response in zip(all_chats, responses, strict=True) if response.status == 429])
    (await model.call()).finish("x")
    await until(lambda: one_fewer(sql, 5))
    assert (await next(idle).send()).status == 200
    await refused(await next(idle).send(), "too_many_answers")
    running = await sql.fetch("select conversation_id from generations where status = 'running'")
    alive = [chat for chat in busy if chat.path.rpartition("/")[2] in {str(row[0]) for row in running}]
    await alive[0].stop()
    assert (await next(idle).send()).status == 200
    await alive[1].client.delete(alive[1].path, headers=user)
    assert (await next(idle).send()).status == 200
    await refused(await next(idle).send(), "too_many_answers")


async def one_fewer(sql: Sql, most: int) -> bool:
    """Whether the user who has more than one running answer has fewer than that many."""
    running = await sql.fetchval(
        "select count(*) from generations where status = 'running' group by holder_id order by 1 desc limit 1"
    )
    return bool(running < most)


async def test_the_places_of_a_dead_workers_answers_are_free_again(
    limited: Any, user: User, model: ModelServer, sql: Sql
) -> None:
    client = await limited(max_answers_per_user=1)
    one, other = await chats([client], user, 2)
    assert (await one.send()).status == 200
    await refused(await other.send(), "too_many_answers")
    await sql.execute("update generations set worker_id = gen_random_uuid()")
    await kill_workers(sql)
    await run(sql, "maintenance.interrupt_orphans")
    assert (await other.send()).status == 200


async def test_a_socket_is_told_as_http_is_and_counts_together_with_it(
    limited: Any, user: User, model: ModelServer
) -> None:
    model.say = ["a"]
    client = await limited(sends_per_user="1/hour", max_answers_per_user=0)
    chat = await open_chat(client, user)
    async with open_tab(client, user) as tab:
        assert (await tab.ask("send", chat.path, content="hi"))["type"] == "ack"
        await tab.events()
        for kind, options in (("send", {"content": "hi"}), ("regenerate", {})):
            frame = await tab.ask(kind, chat.path, ref="r", **options)
            assert (frame["type"], frame["ref"], frame["code"]) == ("error", "r", "sending_too_fast")
            assert frame["status"] == 429
            assert frame["retry_after"] == await refused(await chat.send(), "sending_too_fast")
        assert (await tab.ask("subscribe", chat.path))["type"] == "ack", "it stays open"


async def test_a_user_has_so_many_conversations(limited: Any, auth: AuthService, user: User) -> None:
    client = await limited(max_conversations_per_user=3)
    made = await chats([client], user, 3)
    assert (
        await refused(await client.post("/api/conversations", headers=user), "too_many_conversations") == 60
    )
    await open_chat(client, auth.sign_in())
    assert (await client.delete(made[0].path, headers=user)).status == 204
    await open_chat(client, user)
    assert (await client.post("/api/conversations", headers=user)).status == 429


async def test_a_title_is_as_long_as_the_setting_says(limited: Any, user: User, model: ModelServer) -> None:
    model.say = ["a"]
    client = await limited(max_title_characters=20)
    chat = await open_chat(client, user, title="ä" * 20)
    for response in (
        await client.post("/api/conversations", headers=user, json={"title": "ä" * 21}),
        await client.put(chat.path, headers=user, json={"title": "ä" * 21}),
    ):
        assert response.status == 422
        assert (await response.json())["detail"] == [
            {
                "type": "string_too_long",
                "loc": ["body", "title"],
                "msg": "String should have at most 20 characters",
            }
        ]
    first = await open_chat(client, user)
    await (await first.send("word " * 30, **WHOLE)).read()
    assert 0 < len((await first.get())["title"]) <= 20


async def test_while_the_database_is_away_nothing_passes_uncounted(
    limited: Any, database_url: str, user: User, model: ModelServer
) -> None:
    model.say = ["a"]
    async with DatabaseWire(database_url) as wire:
        client = await limited(sends_per_user="2/hour", database_url=wire.url, database_timeout=0.5)
        chat = await open_chat(client, user)
        assert (await chat.send(**WHOLE)).status == 200
        wire.cut()
        for _ in range(3):
            response = await chat.send()
            assert (response.status, (await response.json())["code"]) == (503, "database_unavailable")
        wire.mend()
        assert (await chat.send(**WHOLE)).status == 200
        await refused(await chat.send(), "sending_too_fast")
        await client.close()


async def test_what_the_page_for_operators_shows_is_true(
    limited: Any, user: User, model: ModelServer, sql: Sql, checkout: Path
) -> None:
    model.say = ["a"]
    text = (checkout / "docs" / "operations" / "limits.md").read_text()
    look, *changes = re.findall(r'psql "\$DATABASE_URL" -c "(.*?)"', text, re.DOTALL)
    assert len(changes) == 2
    chat = await open_chat(await limited(sends_per_user="3/hour"), user)
    for left in (2, 1, 0):
        assert (await chat.send(**WHOLE)).status == 200
        assert [row["left"] for row in await sql.fetch(look)] == [left]
    await refused(await chat.send(), "sending_too_fast")
    for change in changes:
        await sql.execute(re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", (await chat.get())["user_id"], change))
        assert await sql.fetch(look) == []
        assert (await chat.send(**WHOLE)).status == 200


async def test_every_limit_stands_on_the_page_for_operators(checkout: Path) -> None:
    text = (checkout / "docs" / "operations" / "limits.md").read_text()
    for kind in all_errors():
        if kind.limit is not None:
            assert kind.limit in Settings.model_fields
            assert f"`{kind.limit.upper()}`" in text
        if kind.limit is not None or kind.status == 429:
            assert f"{kind.status} `{kind.code}`" in text, kind.code


async def test_every_429_is_in_the_query_of_the_runbook(checkout: Path) -> None:
    section = (
        (checkout / "docs" / "operations" / "runbook.md").read_text().partition("### Users get 429\n")[2]
    )
    query = re.search(r'chat_errors_total\{code=~"(.*?)"\}', section)
    assert query is not None
    codes = {kind.code for kind in all_errors() if kind.status == 429}
    assert {code for code in codes if not re.fullmatch(query[1], code)} == set()


async def test_without_limits_nothing_is_counted(chat: Chat, model: ModelServer, sql: Sql) -> None:
    await chat.exchange(model, "a")
    assert await sql.fetchval("select count(*) from allowances") == 0
    assert await sql.fetchval("select count(*) from spending") == 0


async def test_refusals_are_counted_by_limit_and_told_in_the_log_once_a_minute(
    limited: Any, user: User, model: ModelServer, conversation: str
) -> None:
    model.say = ["a"]
    client = await limited(sends_per_user="1/hour", max_frame_bytes=1024, max_subscriptions=1)
    chat = Chat(client, conversation, at(user, "203.0.113.9"))
    with capture_logs() as lines:
        assert await statuses([await chat.send(**WHOLE) for _ in range(4)]) == {200: 1, 429: 3}
        await client.put(conversation, headers=user, data=b" " * 300_000)
        async with open_tab(client, user) as tab:
            await tab.ask("subscribe", conversation)
            other = await open_chat(client, user)
            assert (await tab.ask("subscribe", other.path))["code"] == "too_many_subscriptions"
            await tab.say("subscribe", conversation, ref="r" * 2000)
            assert await tab.close_code() == 1009

        async def counted() -> dict[str, str]:
            figures = await (await client.get("/metrics")).text()
            counts = dict(re.findall(r'chat_refusals_total{limit="(\w+)"} ([1-9]\S*)', figures))
            return counts if "max_frame_bytes" in counts else {}

        found = await until(counted)
    assert found == {
        "sends_per_user": "3.0",
        "max_body_bytes": "1.0",
        "max_subscriptions": "1.0",
        "max_frame_bytes": "1.0",
    }
    logged = [line for line in lines if line["event"] == "limit_reached"]
    assert Counter(line["limit"] for line in logged) == dict.fromkeys(found, 1)
    assert logged[0]["remote"] == "203.0.113.9"
    await no_answer_lives()


async def test_housekeeping_forgets_who_has_used_nothing_of_late(
    limited: Any, user: User, model: ModelServer, sql: Sql
) -> None:
    model.say = ["a"]
    await sql.execute(
        "insert into allowances select 'sends_per_user', n::text, '1s', '1min', now() - interval '1s'"
        " from generate_series(1, 12000) as n"
    )
    chat = await open_chat(await limited(sends_per_user="9/hour"), user)
    assert (await chat.send(**WHOLE)).status == 200

    async def only_one_is_left() -> bool:
        return bool(await sql.fetchval("select count(*) = 1 from allowances"))

    await until(only_one_is_left)


async def test_counting_updates_rows_in_place(limited: Any, user: User, model: ModelServer, sql: Sql) -> None:
    model.say = ["a"]
    client = await limited(sends_per_user="1000/hour")
    chat = await open_chat(client, user)
    for _ in range(30):
        assert (await chat.send(**WHOLE)).status == 200
    size = await sql.fetchval("select pg_relation_size('allowances')")
    assert size == 8192
    await client.close()  # by then its connections are in the metrics

    async def reported() -> Any:
        await sql.execute("select pg_stat_clear_snapshot()")
        row = await sql.fetchrow("select * from pg_stat_user_tables where relname = 'allowances'")
        return row if row["n_tup_upd"] == 29 else None

    assert (await until(reported))["n_tup_hot_upd"] == 29
