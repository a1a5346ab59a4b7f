"""`chat-api user` and `chat-api retention`, as an operator runs them."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from chat_api.bodies import Conversation, Message
from chat_api.cli import main
from chat_api.commands.data import erase
from chat_api.dev.postgres.installation import binaries
from chat_api.settings.database_url import parse_dsn
from tests.support.auth_service import AuthService
from tests.support.chat import Chat as OpenChat
from tests.support.chat import Client, no_answer_lives, open_chat, somebody_waits
from tests.support.model_server import ModelServer
from tests.support.queries import Chat, Connection, one
from tests.support.reader import read_events

NOTHING = {"conversations": 0, "messages": 0, "inactive_messages": 0, "generations": 0}
NOWHERE = "postgresql://u:hunter2@127.0.0.1:1/none"


@pytest.fixture
def configured(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated, empty database; the environment's DATABASE_URL names it."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return database_url


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], configured: str) -> Run:
    """Run `chat-api …` without a terminal. Returns its exit status, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with Path(os.devnull).open() as nothing, pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", nothing)
            try:
                status = main([str(each) for each in arguments])
            except SystemExit as refused:
                status = int(refused.code or 0)
        written = capfd.readouterr()
        return status, written.out, written.err

    return run


def lines(text: str) -> list[dict[str, Any]]:
    """The objects of JSON Lines."""
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


async def talked(sql: Connection, user_id: UUID, *questions: str) -> Chat:
    """A user's conversation with these questions, each answered."""
    chat = await Chat(user_id=user_id).open(sql)
    for number, question in enumerate(questions):
        key = f"key {number}"
        generation_id = await chat.begin(sql, content=question, title=question[:80], idempotency_key=key)
        await chat.speak(sql, (generation_id, 0, [{"token": "a"}]))
        await chat.finish(sql, generation_id, content=f"{question}!")
    return chat


async def forked(sql: Connection, user_id: UUID) -> Chat:
    """A user's conversation with two versions of its question, and of the second one's answer three."""
    chat = await talked(sql, user_id, "one", "two")
    generation_id = await chat.begin(sql, content="one, edited", is_root=True)
    await chat.finish(sql, generation_id, content="edited!", status="stopped", finish_reason="stopped")
    for kind in ("continue", "regenerate"):
        await chat.finish(sql, await chat.begin(sql, kind=kind, options='{"top_k":3}'), content=f"{kind}!")
    return chat


async def rows(sql: Connection, user_id: UUID | None = None) -> dict[str, int]:
    """How many rows are stored, for one user or for all."""
    whose = "" if user_id is None else f"where user_id = '{user_id}'"
    of = f"(select id from conversations {whose})"
    counts = {"conversations": await sql.fetchval(f"select count(*) from conversations {whose}")}
    for table in ("messages", "inactive_messages", "generations"):
        counts[table] = await sql.fetchval(f"select count(*) from {table} where conversation_id in {of}")
    return counts


# export


def files(folder: Path) -> list[Path]:
    """The files in a folder."""
    return list(folder.iterdir())


async def test_an_export_has_every_line_in_order(run: Run, sql: Connection) -> None:
    user_id = uuid4()
    first = await talked(sql, user_id, "one", "two")
    second = await talked(sql, user_id, "three")
    await talked(sql, uuid4(), "another's")
    status, text, said = run("user", "export", user_id)
    assert (status, said) == (0, "")
    exported = lines(text)
    assert [(line["type"], line.get("content") or line.get("kind")) for line in exported] == [
        ("conversation", None),
        *[("message", content) for content in ("one", "one!", "two", "two!")],
        ("generation", "send"),
        ("generation", "send"),
        ("conversation", None),
        *[("message", content) for content in ("three", "three!")],
        ("generation", "send"),
        *[("usage", "send")] * 3,
    ]
    assert [line["conversation_id"] for line in exported if line["type"] != "conversation"] == [
        *[str(first.id)] * 6,
        *[str(second.id)] * 3,
        *[str(first.id)] * 2,
        str(second.id),
    ]
    keys = [line["idempotency_key"] for line in exported if line["type"] == "generation"]
    assert keys == ["key 0", "key 1", "key 0"]


async def test_an_export_speaks_as_the_api_does(
    run: Run, client: Client, user: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    chat = await open_chat(client, user, title="नमस्ते 🥟")
    got = await chat.get()
    capfd.readouterr()  # the log
    (conversation,) = lines(run("user", "export", got["user_id"])[1])
    assert (conversation.pop("type"), conversation.pop("format")) == ("conversation", 2)
    assert conversation.pop("metadata") is None  # OpenAI's API has it
    assert list(conversation) == list(Conversation.model_fields)
    assert conversation == {key: got[key] for key in conversation}


async def test_an_export_has_every_version(
    run: Run, client: Client, user: dict[str, str], model: ModelServer, capfd: pytest.CaptureFixture[str]
) -> None:
    chat = await open_chat(client, user)
    model.say = ["a"]
    for _ in range(2):
        await (await chat.send("A")).read()
    old = await chat.get()
    await (await chat.send("A2", parent_id=None)).read()
    await (await chat.regenerate()).read()
    new = await chat.get()
    await chat.change(instructions="Be brief.", options={"top_k": 3})
    capfd.readouterr()  # the log
    conversation, *rest = lines(run("user", "export", new["user_id"])[1])
    assert (conversation["instructions"], conversation["options"]) == ("Be brief.", {"top_k": 3})
    exported = [each for each in rest if each.pop("type") == "message" and each.pop("is_refused", 0) is None]
    active = [each for each in exported if each.pop("is_active")]
    assert active == new["messages"]
    await chat.show(old["messages"][0]["id"])
    others = [each for each in exported if each not in active]
    old = await chat.get()
    assert others[:4] == old["messages"]
    assert [each["siblings"]["index"] for each in others[4:]] == [0]  # the answer that was done again


async def test_every_text_comes_out_as_it_went_in(run: Run, sql: Connection) -> None:
    user_id = uuid4()
    texts = ["", "\n\r\t\\\"'\u2028\u2029\x01", "🥟 e\u0301 \u202eשל", "%s $1 :name {} |", "x" * 200_000]
    chat = await Chat(user_id=user_id).open(sql, title=None)
    for at, content in enumerate(texts):
        await chat.say(sql, "assistant" if at % 2 else "user", content, at)
    conversation, *messages = lines(run("user", "export", user_id)[1])
    assert (conversation["title"], conversation["model_tag"]) == ("New conversation", "default")
    assert [message["content"] for message in messages] == texts
    for message in messages:
        assert (message.pop("type"), message.pop("is_active")) == ("message", True)
        assert message.pop("is_refused") is None
        assert list(message) == list(Message.model_fields)
        Message.model_validate_json(json.dumps(message), strict=True)
        assert message["created_at"].endswith("+00:00")


async def test_an_export_has_every_version_and_tells_the_tree(
    run: Run, sql: Connection, client: Client, auth: AuthService, capfd: pytest.CaptureFixture[str]
) -> None:
    chat = await forked(sql, uuid4())
    user = auth.sign_in(chat.user_id)
    shown = (await OpenChat(client, f"/api/conversations/{chat.id}", user).get())["messages"]
    capfd.readouterr()  # the log
    _, *exported = lines(run("user", "export", chat.user_id)[1])
    messages = [line for line in exported if line["type"] == "message"]
    assert [(each["content"], each["is_active"]) for each in messages] == [
        ("one", False),
        ("one!", False),
        ("two", False),
        ("two!", False),
        ("one, edited", True),
        ("edited!", False),
        ("continue!", False),
        ("regenerate!", True),
    ]
    ids = [each["id"] for each in messages]
    parents = [ids.index(each["parent_id"]) if each["parent_id"] else None for each in messages]
    assert parents == [None, 0, 1, 2, None, 4, 4, 4]
    siblings = [each["siblings"] for each in messages]
    versions = [each and [ids.index(other) for other in each["ids"]] for each in siblings]
    assert versions == [[0, 4], None, None, None, [0, 4], [5, 6, 7], [5, 6, 7], [5, 6, 7]]
    assert [each["siblings"]["index"] for each in messages[4:]] == [1, 0, 1, 2]
    # Each answer with what it was asked with.
    asked = {line["message_id"]: line for line in exported if line["type"] == "generation"}
    assert [(asked[each]["kind"], asked[each]["options"]) for each in ids[5:]] == [
        ("send", None),
        ("continue", {"top_k": 3}),
        ("regenerate", {"top_k": 3}),
    ]
    # What the user sees is the active path, in the same words.
    for each in messages:
        assert (each.pop("type"), each.pop("is_refused")) == ("message", None)
    assert [each for each in messages if each.pop("is_active")] == shown


async def test_an_export_to_a_file_appears_whole_and_for_its_owner_alone(
    run: Run, sql: Connection, tmp_path: Path
) -> None:
    user_id, path = uuid4(), tmp_path / "all of it.jsonl"
    await talked(sql, user_id, "hi 🥟")
    _, text, _ = run("user", "export", user_id)
    path.write_text("of yesterday")
    status, stdout, said = run("user", "export", user_id, "--output", path)
    assert (status, said) == (0, "")
    assert stdout == (
        f"exported 1 conversation, 2 messages and 1 answer record of {user_id} to {path}, "
        "and 1 row of usage\n"
    )
    assert path.read_text(encoding="utf-8") == text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert files(tmp_path) == [path]
    status, stdout, _ = run("user", "export", user_id, "--output", path, "--json")
    assert json.loads(stdout) == {
        "user_id": str(user_id),
        "conversations": 1,
        "messages": 2,
        "generations": 1,
        "usage": 1,
    }


async def test_an_export_that_breaks_leaves_what_was_there(
    run: Run, sql: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id, path = uuid4(), tmp_path / "export.jsonl"
    await talked(sql, user_id, "hi")
    path.write_text("of yesterday")
    await sql.execute("alter table generations rename to elsewhere")
    status, text, said = run("user", "export", user_id, "--output", path)
    assert (status, text) == (1, "")
    assert 'relation "generations" does not exist' in said
    status, _, said = run("user", "export", user_id, "--output", tmp_path / "nowhere" / "export.jsonl")
    assert (status, said) == (
        1,
        f"chat-api: cannot write {tmp_path}/nowhere/export.jsonl: No such file or directory\n",
    )
    monkeypatch.setenv("DATABASE_URL", NOWHERE)
    status, _, said = run("user", "export", user_id, "--output", path)
    assert status == 1
    assert "cannot connect" in said
    assert "hunter2" not in said
    assert path.read_text() == "of yesterday"
    assert files(tmp_path) == [path]


@pytest.mark.parametrize("kind", ["pipe", "link"])
async def test_an_export_takes_no_place_but_a_files(
    run: Run, sql: Connection, tmp_path: Path, kind: str
) -> None:
    """/dev/stdout and /dev/null must not be replaced: as root, that would make plain files of them."""
    path = tmp_path / "export.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null")
    before = path.lstat()
    status, _, said = run("user", "export", uuid4(), "--output", path)
    assert (status, said) == (1, f"chat-api: cannot write {path}: it exists, and isn't a regular file\n")
    assert path.lstat() == before
    assert files(tmp_path) == [path]


def test_an_export_of_nobody_is_empty_and_says_so(run: Run, tmp_path: Path) -> None:
    nobody = uuid4()
    assert run("user", "export", nobody) == (0, "", f"chat-api: nothing is stored about {nobody}\n")
    status, stdout, _ = run("user", "export", nobody, "--output", tmp_path / "export.jsonl")
    assert (status, (tmp_path / "export.jsonl").read_text()) == (0, "")
    assert stdout.startswith("exported 0 conversations, 0 messages")


async def test_an_export_of_a_conversation_that_the_user_has_not_fails_and_leaves_no_file(
    run: Run, sql: Connection, tmp_path: Path
) -> None:
    chat, other = await talked(sql, uuid4(), "hi"), await talked(sql, uuid4(), "hi")
    refused = (1, "", f"chat-api: this user has no conversation {other.id}\n")
    wrong = ("user", "export", chat.user_id, "--conversation", other.id)
    assert run(*wrong) == refused
    assert run(*wrong, "--output", tmp_path / "export.jsonl") == refused
    assert files(tmp_path) == []
    # What was used outlives the conversation.
    await sql.execute("delete from conversations where id = $1", chat.id)
    status, text, _ = run("user", "export", chat.user_id, "--conversation", chat.id)
    assert (status, [line["type"] for line in lines(text)]) == (0, ["usage"])


def test_the_wrong_use_is_told(run: Run) -> None:
    for arguments in (("user", "export", "me"), ("user", "delete", "1"), ("user", "delete")):
        status, _, said = run(*arguments)
        assert (status, "UUID" in said) == (2, True)
    status, _, said = run("user", "export", uuid4(), "--json")
    assert (status, "--output" in said) == (2, True)
    status, _, said = run("user", "delete", uuid4())
    assert (status, said) == (2, "chat-api: there is no terminal on which to ask: give --yes\n")


MEASURED = """
import resource, sys
from chat_api.cli import main
status = main(sys.argv[1:])
sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
sys.exit(status)
"""


async def test_an_export_of_100_000_messages_takes_no_more_memory_than_one_of_a_few(
    sql: Connection, configured: str, tmp_path: Path
) -> None:
    few, many = await talked(sql, uuid4(), "hi"), await talked(sql, uuid4(), "hi")
    await sql.execute(
        "insert into messages (conversation_id, role, content)"
        " select $1, 'user', repeat('word ', 200) from generate_series(1, 100000)",
        many.id,
    )
    used = {}
    for chat in (few, many):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", MEASURED, "user", "export", str(chat.user_id),
             "--output", tmp_path / "export.jsonl"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=True,
        )  # fmt: skip
        used[chat.id] = int(done.stderr)  # KiB
    assert (tmp_path / "export.jsonl").stat().st_size > 100_000_000
    assert used[many.id] < used[few.id] + 16_000


async def test_psql_exports_the_same(run: Run, sql: Connection, configured: str) -> None:
    user_id = uuid4()
    await talked(sql, user_id, "one\n\\two", "🥟")
    _, text, _ = run("user", "export", user_id)
    _, script, _ = run("sql", "show", "users.export")
    done = await asyncio.to_thread(
        subprocess.run,
        [binaries(None) / "psql", "-XAtq", "-v", f"user_id='{user_id}'", "-v", "conversation_id=null",
         "-v", "FETCH_COUNT=1", configured],
        input=script, capture_output=True, text=True, timeout=30, check=True,
        env={**os.environ, "PSQLRC": os.devnull, "PGTZ": "UTC"},
    )  # fmt: skip
    assert done.stdout == text


def test_a_reader_that_leaves_is_no_error(run: Run, configured: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "chat_api", "retention"],
            stdout=writing, stderr=subprocess.PIPE, text=True, timeout=30, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is Linux's")
@pytest.mark.parametrize("command", ["user export", "retention", "migrate status"])
async def test_a_full_disk_is_told(command: str, sql: Connection, configured: str) -> None:
    chat = await talked(sql, uuid4(), "hi")
    user = [str(chat.user_id)] if command == "user export" else []
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "chat_api", *command.split(), *user],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False,
        )  # fmt: skip
    finally:
        os.close(full)
    assert done.returncode == 1
    assert done.stderr == "chat-api: cannot write all of it to standard output: No space left on device\n"


# delete


async def test_a_deletion_takes_all_of_one_user_and_nothing_of_another(run: Run, sql: Connection) -> None:
    user_id, other = uuid4(), uuid4()
    for owner in (user_id, other):
        for number in range(3):
            await talked(sql, owner, f"question {number}", "and?")
        await forked(sql, owner)
    before = await rows(sql, other)
    slices = await sql.fetchval(
        "select count(*) from journal as j inner join generations as g on j.generation_id = g.id"
        " inner join conversations as c on g.conversation_id = c.id where c.user_id = $1",
        other,
    )
    assert slices == 8
    status, stdout, said = run("user", "delete", user_id, "--yes")
    assert (status, said) == (0, "")
    assert stdout == f"deleted 4 conversations, 20 messages and 11 answer records of {user_id}\n"
    assert await rows(sql) == await rows(sql, other) == before
    assert before["inactive_messages"] == 6
    assert await sql.fetchval("select count(*) from journal") == slices
    status, stdout, _ = run("user", "delete", user_id, "--yes", "--json")
    assert (status, json.loads(stdout)) == (
        0,
        {"user_id": str(user_id), "conversations": 0, "messages": 0, "generations": 0, "held": 0},
    )


async def test_what_was_exported_is_what_was_deleted(
    run: Run, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erase, "_ROWS", 2)
    user_id = uuid4()
    for number in range(5):
        await talked(sql, user_id, *[f"question {each}" for each in range(number)])
    await forked(sql, user_id)
    types = [line["type"] for line in lines(run("user", "export", user_id)[1])]
    report = json.loads(run("user", "delete", user_id, "--yes", "--json")[1])
    assert {kind: types.count(kind) for kind in ("conversation", "message", "generation")} == {
        "conversation": report["conversations"],
        "message": report["messages"],
        "generation": report["generations"],
    }
    assert (report["conversations"], report["messages"]) == (6, 20 + 8)
    assert lines(run("user", "export", user_id)[1]) == []


@pytest.mark.parametrize(
    ("answer", "status", "is_deleted"), [("y", 0, True), ("yes", 0, True), ("n", 1, False), ("", 1, False)]
)
async def test_on_a_terminal_it_asks(
    sql: Connection, configured: str, answer: str, status: int, is_deleted: bool
) -> None:
    chat = await talked(sql, uuid4(), "hi")
    await chat.finish(sql, await chat.begin(sql, kind="regenerate"))
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "chat_api", "user", "delete", str(chat.user_id)],
            stdin=theirs, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == status
    assert done.stderr.startswith(
        f"Delete 1 conversation, 3 messages and 2 answer records of {chat.user_id} in "
        f"{parse_dsn(configured).redacted()} for good? [y/N] "
    )
    assert (await rows(sql, chat.user_id))["conversations"] == (0 if is_deleted else 1)
    assert (done.stdout != "") == is_deleted


async def delete(user_id: str) -> tuple[int, dict[str, Any]]:
    """`chat-api user delete --yes --json` in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chat_api", "user", "delete", user_id, "--yes", "--json",
        stdout=subprocess.PIPE,
    )  # fmt: skip
    report, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, json.loads(report)


@pytest.mark.usefixtures("configured")
async def test_an_answer_on_its_way_is_stopped_first(chat: OpenChat, model: ModelServer) -> None:
    response, call, _ = await chat.begin(model, "Once ", "upon ")
    user_id = (await chat.get())["user_id"]
    status, report = await delete(user_id)
    assert (status, report["conversations"], report["messages"], report["generations"]) == (0, 1, 2, 1)
    await asyncio.wait_for(call.closed.wait(), 5)
    *_, last = await read_events(response)
    assert (last.data["done"], last.data["finish_reason"]) == (True, "stopped")


@pytest.mark.usefixtures("configured")
async def test_what_somebody_else_deletes_meanwhile_is_not_said_to_be_held(sql: Connection) -> None:
    chat = await talked(sql, uuid4(), "hi")
    async with sql.transaction():
        await sql.execute("delete from conversations where id = $1", chat.id)
        deletion = asyncio.create_task(delete(str(chat.user_id)))
        await somebody_waits(sql)
    assert await deletion == (
        0, {"user_id": str(chat.user_id), "conversations": 0, "messages": 0, "generations": 0, "held": 0},
    )  # fmt: skip


async def test_a_late_end_brings_nothing_back(chat: OpenChat, model: ModelServer, sql: Connection) -> None:
    """The worker stores its answer at the moment of the deletion, and isn't told."""
    response, call, _ = await chat.begin(model, "Once ")
    user_id = UUID((await chat.get())["user_id"])
    async with sql.transaction():
        row = await one(sql, "users.delete", user_id=user_id, max_rows=100)
        assert row is not None
        assert row["conversations"] == 1
        call.finish("upon a time")
        await somebody_waits(sql)
    *_, last = await read_events(response)
    assert (last.data["done"], last.data["message_id"]) == (True, None)
    await no_answer_lives()
    assert await rows(sql) == NOTHING


@pytest.mark.usefixtures("configured")
async def test_who_sends_while_he_is_deleted_gets_an_answer_or_404(
    client: Client, user: dict[str, str], sql: Connection, model: ModelServer
) -> None:
    model.say = ["ok"]
    chats = [await open_chat(client, user) for _ in range(4)]
    user_id = (await chats[0].get())["user_id"]
    statuses: list[int] = []
    ended = asyncio.Event()

    async def send(chat: OpenChat) -> None:
        while not ended.is_set():
            response = await chat.send()
            statuses.append(response.status)
            await response.read()
            if response.status == 404:
                chat = await open_chat(client, user)

    senders = [asyncio.create_task(send(chat)) for chat in chats]
    results = [await delete(user_id) for _ in range(2)]
    ended.set()
    await asyncio.gather(*senders)
    await no_answer_lives()
    results.append(await delete(user_id))
    assert {status for status, _ in results} == {0}
    assert {200, 404} >= set(statuses) >= {200}
    assert await rows(sql) == NOTHING
    assert (await delete(user_id))[1]["conversations"] == 0


# retention


async def test_what_retention_would_delete_is_told(run: Run, sql: Connection) -> None:
    status, stdout, _ = run("retention")
    assert status == 0
    assert stdout == (
        "RETENTION_DAYS is 0: conversations are kept\n"
        "GENERATION_DAYS is 0: answer records are kept as long as their conversations\n"
    )
    old, starred = await talked(sql, uuid4(), "hi"), await talked(sql, uuid4(), "hi")
    await starred.finish(sql, await starred.begin(sql, kind="regenerate"))  # which keeps the earlier answer
    await sql.execute(
        "update conversations set updated_at = '2024-02-29', is_favorited = id = $1", starred.id
    )
    await sql.execute("update generations set id = gen_random_uuid(), finished_at = '2024-02-29'")
    await sql.execute(
        "update generations set id = '00000000-0000-7000-8000-000000000000' where conversation_id = $1",
        old.id,
    )
    before = await rows(sql)
    status, stdout, _ = run("retention", "--days", "90", "--generation-days", "60")
    assert status == 0
    assert stdout == (
        "after 90 days: 1 conversation with 2 messages would be deleted, the oldest from 2024-02-29; "
        "starred ones that are kept: 1\nafter 60 days: 1 answer record would be deleted\n"
    )
    _, stdout, _ = run("retention", "--days", "90", "--favourites", "delete", "--json")
    assert json.loads(stdout) == {
        "retention_days": 90,
        "generation_days": 0,
        "conversations": 2,
        "messages": 5,
        "favourites": 0,
        "oldest": "2024-02-29T00:00:00+00:00",
        "generations": 0,
    }
    assert await rows(sql) == before
    status, _, said = run("retention", "--days", "-1")
    assert (status, "give a number of days from 0 to" in said) == (2, True)


async def test_retention_reads_the_services_settings(
    run: Run, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETENTION_DAYS", "30")
    monkeypatch.setenv("RETENTION_FAVOURITES", "delete")
    monkeypatch.setenv("GENERATION_DAYS", "7")
    await talked(sql, uuid4(), "hi")
    assert run("retention")[1] == (
        "after 30 days: 0 conversations with 0 messages would be deleted\n"
        "after 7 days: 0 answer records would be deleted\n"
    )
