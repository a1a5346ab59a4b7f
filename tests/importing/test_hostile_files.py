"""Files that are damaged, or made to harm, are refused or read in part, in bounded memory."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from chat_api.importing.importing import Import
from chat_api.importing.limits import MOST_DEPTH, MOST_ITEM_BYTES, PIECE_BYTES, UnreadableError
from chat_api.importing.report import Report

FILES = Path(__file__).parent / "files"
CHATGPT = (FILES / "chatgpt.json").read_bytes()
CLAUDE = (FILES / "claude.json").read_bytes()
GOOD = json.dumps(json.loads(CLAUDE)[1])

Bring = Callable[..., Awaitable[dict[str, Any]]]


def read(data: bytes, piece: int = PIECE_BYTES, most_bytes: int = 1 << 30) -> tuple[Report, list[Any]]:
    """Read a file by pieces, storing nothing. Returns the report, and each title with its messages."""
    course = Import(uuid4(), most_bytes=most_bytes)
    found = []

    def take(prepared: Iterator[Any]) -> None:
        for each in prepared:
            messages = json.loads(each.parameters["messages"])
            found.append((each.conversation.title, messages))
            course.stored(each, "added", len(messages))

    try:
        for place in range(0, len(data), piece):
            take(course.feed(data[place : place + piece]))
        take(course.finish())
    except UnreadableError as error:
        course.stop(error)
    return course.report, found


def texts(found: list[Any]) -> list[list[str]]:
    """The texts of each conversation."""
    return [[message["content"] for message in messages] for _, messages in found]


def zipped(**files: bytes) -> bytes:
    """A zip with these files; `_` in a name is a dot."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("_", "."), data)
    return packed.getvalue()


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
def test_the_size_of_the_pieces_changes_nothing(piece: int) -> None:
    for data in (
        CHATGPT,
        CLAUDE,
        zipped(chat_html=b"<html>" * 99, conversations_json=CHATGPT, user_json=b"{}"),
    ):
        whole, found = read(data)
        assert (whole.is_whole, whole.added > 0) == (True, True)
        assert read(data, piece) == (whole, found)


@pytest.mark.parametrize(
    "encoded",
    [
        CLAUDE.decode().encode("utf-8-sig"),
        CLAUDE.decode().encode("utf-16"),
        CLAUDE.decode().encode("utf-16-le"),
        CLAUDE.decode().encode("utf-16-be"),
        b"\n \n" + CLAUDE + b"\n\n",
        json.dumps(json.loads(CLAUDE), ensure_ascii=False, indent=8).replace("\n", "\r\n").encode(),
    ],
)
def test_encodings_and_spaces_change_nothing(encoded: bytes) -> None:
    assert read(encoded) == read(CLAUDE)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "The file is empty."),
        (b"  \n", "The file is empty."),
        (b"[", "The file ends in the middle"),
        (b"<html>", "This isn't JSON"),
        (b"PK", "This isn't JSON"),
        (b"\x89PNG\r\n\x1a\n" * 100, "This isn't JSON"),
        (gzip.compress(CHATGPT), "This isn't JSON"),
        (b'"text"', "This isn't JSON"),
        (b"]", "This isn't JSON"),
        (b"[}", "This isn't JSON"),
        (zipped(chat_html=b"x"), "There is no conversations.json in this zip."),
        (zipped(shared_conversations_json=CHATGPT), "There is no conversations.json in this zip."),
        (zipped(), "There is no conversations.json in this zip."),
        (b"PK\x03\x04" + bytes(10), "The zip ends in the middle"),
        (b"PK\x03\x04" + bytes(99), "The zip is damaged."),
    ],
)
async def test_what_is_no_export_is_refused_with_a_sentence(bring: Bring, data: bytes, why: str) -> None:
    body = await bring(data)
    assert (body["status"], body["code"]) == (415, "import_unreadable")
    assert body["detail"].startswith(why), body["detail"]


@pytest.mark.parametrize("data", [b"[]", b"[1, 2]", b"{}", b"[{}]", b'{"a": 1}\n{"b": 2}', b'[[["a"]]]'])
async def test_json_without_a_conversation_is_refused_too(bring: Bring, data: bytes) -> None:
    body = await bring(data)
    assert (body["status"], body["code"]) == (415, "import_unreadable")


@pytest.mark.parametrize("data", [CLAUDE[:-20], zipped(conversations_json=CLAUDE)[:-300], CLAUDE + b"[]"])
async def test_of_a_file_that_was_cut_the_beginning_is_imported(bring: Bring, data: bytes) -> None:
    data = json.dumps([*json.loads(CLAUDE), {"uuid": str(uuid4()), "name": "x" * 999}]).encode()[:-9]
    report = await bring(data)
    assert (report["conversations"]["added"], report["is_whole"]) == (2, False)
    assert "ends in the middle" in report["problems"][-1]["why"]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (
            '{"title": "deep", "mapping": ' + "[" * 100_000 + "]" * 100_000 + "}",
            f"more than {MOST_DEPTH} levels",
        ),
        (
            '{"title": "deep", "mapping": ' + '{"a":' * 2_000 + "1" + "}" * 2_001,
            f"more than {MOST_DEPTH} levels",
        ),
        ('{"title": "deep", "x": "' + "x" * MOST_ITEM_BYTES + '"}', "larger than 32 MB"),
        (
            '{"title": "deep", "mapping": {' + ",".join(f'"{n}":1' for n in range(1_000_001)) + "}}",
            "1,000,000 values",
        ),
        ('{"title": "deep", "a": tru}', "It isn't valid JSON."),
        ('{"title": "deep", "mapping": {}}', "It has no messages."),
        (
            '{"title": "deep", "mapping": {"a": {"id": "a"}, "b": 5, "c": [], "d": {"message": []}}}',
            "It has no messages.",
        ),
        ('{"name": "deep", "chat_messages": [1, null, [], {}]}', "It has no messages."),
        ('{"title": "deep", "chat": {"history": {"messages": {"a": null}}}}', "It has no messages."),
        ('{"title": "deep", "conversationId": [], "messages": [[{}]]}', "It has no messages."),
        (
            '{"title": "deep", "conversationId": 1, "messages": ['
            + ",".join(['{"text":"a"}'] * 10_001)
            + "]}",
            "10,000 messages",
        ),
    ],
    ids=range(11),
)
def test_a_hostile_conversation_is_left_out_and_the_next_one_taken(bad: str, why: str) -> None:
    report, found = read(f"[{bad},{GOOD}]".encode())
    assert texts(found) == [["An older export", "has a list."]]
    ((_, told), *_) = [each for each in report.problems if each[0] == "deep"]
    assert why in told
    assert (report.added, report.left_out, report.is_whole) == (1, 1, True)


def test_many_commas_and_brackets_in_a_text_are_no_values() -> None:
    table = "1,2,{3},[4]\\n" * 300_000
    _, found = read(
        f'[{{"uuid": "t", "chat_messages": [{{"sender": "human", "text": "{table}"}}]}}]'.encode()
    )
    assert len(texts(found)[0][0]) == 1_000_000


def test_a_zip_bomb_ends_the_import() -> None:
    bomb = zipped(conversations_json=b"[" + b" " * 50_000_000 + b"]")
    report, found = read(bomb)
    assert (found, report.is_whole) == ([], False)
    assert "more than 200 times larger" in report.problems[-1][1]
    report, _ = read(zipped(conversations_json=CHATGPT * 3), most_bytes=len(CHATGPT))
    assert "larger than what may be imported" in report.problems[-1][1]


def test_a_zip_of_very_many_files_ends_the_import() -> None:
    header = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0)
    report, _ = read((header + b"x") * 100_000)
    assert report.problems == [(None, "The zip has more than 50,000 files.")]


class Unseekable(io.RawIOBase):
    """What a program that streams a zip writes to."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Keep it."""
        self.data += data
        return len(data)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
@pytest.mark.parametrize("force_zip64", [True, False])
def test_zips_with_sizes_behind_their_files_are_read(compression: int, force_zip64: bool) -> None:
    packed = Unseekable()
    with zipfile.ZipFile(packed, "w", compression) as archive:  # type: ignore[call-overload]
        for name in ("chat.html", "out/conversations-000.json", "out/conversations-001.json"):
            with archive.open(name, "w", force_zip64=force_zip64) as file:
                file.write(CLAUDE if name.endswith("0.json") else CHATGPT)
    report, found = read(bytes(packed.data))
    if compression == zipfile.ZIP_DEFLATED:
        assert (len(found), report.is_whole) == (3, True)
    else:  # nothing says where it ends
        assert "Unpack it" in report.problems[-1][1]


def claude(*messages: dict[str, Any], **more: Any) -> bytes:
    """A conversation in Claude's form."""
    said = [{"sender": "human", "text": f"#{n}", "uuid": f"{n}", **each} for n, each in enumerate(messages)]
    return json.dumps([{"uuid": "c", "chat_messages": said, **more}]).encode()


def test_circles_missing_parents_and_several_roots_are_put_in_order() -> None:
    parents = {"0": "2", "1": "0", "2": "1", "3": "gone", "4": "4", "5": "3", "6": None}
    data = claude(*({"parent_message_uuid": parent, "uuid": key} for key, parent in parents.items()))
    _, ((_, messages),) = read(data)
    above = {each["content"]: each["parent"] and messages[each["parent"] - 1]["content"] for each in messages}
    # Of a circle, the first one met from above begins.
    assert above == {"#0": 0, "#1": "#0", "#2": "#1", "#3": 0, "#4": 0, "#5": "#3", "#6": 0}
    assert all(each["parent"] < each["place"] for each in messages)


def test_texts_names_and_dates_are_made_storable() -> None:
    now = datetime.now(UTC)
    odd = (
        b'[{"uuid": "c", "name": "a\\u0000b\\n\\ud83d c", "model": "'
        + b"m" * 200
        + b'", "created_at": "tomorrow",'
    )
    odd += b'"updated_at": 99999999999999999999, "chat_messages": ['
    odd += (
        b'{"sender": "human", "text": "x\\u0000\\ud83d\\ude00\\ud83d y \xff", "created_at": 1750000000000},'
    )
    odd += (
        b'{"sender": "assistant", "text": "'
        + b"y" * 1_000_001
        + b'", "created_at": "2999-01-01T00:00:00Z"}]}]'
    )
    report, ((title, messages),) = read(odd)
    assert title == "ab \ufffd c"
    assert messages[0]["content"] == "x\U0001f600\ufffd y \ufffd"
    assert (len(messages[1]["content"]), messages[1]["model_tag"]) == (1_000_000, "m" * 100)
    assert messages[0]["created_at"] == messages[1]["created_at"] == "2025-06-15T15:06:40+00:00"
    assert [why for _, why in report.problems] == ["Texts were cut after 1,000,000 characters: 1."]
    assert datetime.fromisoformat(messages[1]["created_at"]) < now


def test_only_the_first_hundred_problems_are_listed() -> None:
    report, _ = read(("[" + ",".join(["{}"] * 250) + "]").encode())
    assert (report.left_out, len(report.problems), report.more_problems) == (250, 100, 150)


def generated(size: int) -> Iterator[bytes]:
    """A file of about this many bytes in ChatGPT's form, a conversation at a time."""
    node = json.loads(CHATGPT)[0]["mapping"]["u1"]
    node["message"]["content"]["parts"] = ['All about \\ "tea" and rain. \n' * 20]
    mapping = {f"n{n}": {**node, "parent": f"n{n - 1}", "children": [f"n{n + 1}"]} for n in range(100)}
    text = json.dumps({"title": "Long", "mapping": mapping}).encode()
    yield b"["
    for _ in range(size // len(text)):
        yield text + b","
    yield text + b"]"


def test_memory_is_bounded_for_a_large_file() -> None:
    course = Import(uuid4(), most_bytes=1 << 40)
    number = 0
    tracemalloc.start()
    try:
        for piece in generated(6_000_000):
            number += sum(1 for _ in course.feed(piece))
        number += sum(1 for _ in course.finish())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert number > 60
    assert peak < 4_000_000
