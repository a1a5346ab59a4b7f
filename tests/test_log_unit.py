"""The relay's own parts: the log and the hub."""

from __future__ import annotations

import asyncio
import weakref
from uuid import UUID, uuid4

import pytest

from chat_api.relay import Event, Hub, Log


def encode(event: Event) -> bytes:
    return b"%d:%s" % (event.seq, event.data)


def filled(*data: bytes, last: bool = False) -> Log:
    log = Log(uuid4(), uuid4())
    for place, each in enumerate(data):
        log.append(each, last=last and place == len(data) - 1)
    return log


class TestLog:
    def test_events_are_numbered_without_a_gap(self) -> None:
        log = filled(b"a", b"b", b"c")
        assert [(event.generation_id, event.seq) for event in log.events] == [
            (log.generation_id, 0),
            (log.generation_id, 1),
            (log.generation_id, 2),
        ]

    def test_a_closed_log_takes_nothing(self) -> None:
        log = filled(b"a", last=True)
        with pytest.raises(ValueError, match="closed"):
            log.append(b"b")
        assert [event.data for event in log.events] == [b"a"]

    @pytest.mark.parametrize(("seq", "place"), [(-1, 0), (0, 1), (4, 1), (5, 2), (9, 3), (99, 3)])
    def test_a_reader_continues_after_what_it_saw_though_numbers_are_missing(
        self, seq: int, place: int
    ) -> None:
        log = filled(b"a")
        log.append(b"b", seq=5)
        log.append(b"c", seq=9, last=True)
        assert log.place_after(seq) == place

    @pytest.mark.parametrize("seq", [-1, 0, 1, 7])
    def test_a_reader_may_be_ahead_of_a_log_that_grows(self, seq: int) -> None:
        assert filled(b"a", b"b").place_after(seq) == seq + 1

    def test_a_slice_is_as_large_as_asked(self) -> None:
        log = filled(b"a", b"b", b"c")
        assert log.read(0, 2, encode) == [b"0:a", b"1:b"]
        assert log.read(2, 2, encode) == [b"2:c"]
        assert log.read(3, 2, encode) == []

    def test_an_event_is_encoded_once_however_many_read(self) -> None:
        encoded: list[int] = []

        def counting(event: Event) -> bytes:
            encoded.append(event.seq)
            return event.data

        log = filled(b"a", b"b")
        for _ in range(3):
            assert log.read(0, 9, counting) == [b"a", b"b"]
            assert log.read(0, 9, encode) == [b"0:a", b"1:b"]
        log.append(b"c")
        for _ in range(3):
            assert log.read(2, 9, counting) == [b"c"]
        assert encoded == [0, 1, 2]

    async def test_all_who_wait_are_woken(self) -> None:
        log = filled(b"a")
        readers = [asyncio.create_task(log.wait(1)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(reader.done() for reader in readers)
        log.append(b"b")
        async with asyncio.timeout(1):
            await asyncio.gather(*readers)

    async def test_what_is_there_is_not_waited_for(self) -> None:
        log = filled(b"a")
        async with asyncio.timeout(1):
            await log.wait(0)
            log.append(b"b", last=True)
            await log.wait(2)
            await log.wait_closed()

    async def test_the_end_is_waited_for_past_every_event(self) -> None:
        log = Log(uuid4(), uuid4())
        reader = asyncio.create_task(log.wait_closed())
        for last in (False, False, True):
            assert not reader.done()
            log.append(b"a", last=last)
            await asyncio.sleep(0)
        async with asyncio.timeout(1):
            await reader

    async def test_a_reader_that_leaves_is_forgotten(self) -> None:
        log = Log(uuid4(), uuid4())
        reader = asyncio.create_task(log.wait(0))
        await asyncio.sleep(0)
        assert len(log._listeners) == 1
        reader.cancel()
        await asyncio.wait({reader})
        assert not log._listeners
        log.append(b"a")


class Elsewhere:
    """Stands in for the follower: it knows every log that this worker doesn't."""

    def __init__(self) -> None:
        self.asked: list[UUID] = []

    async def follow(self, generation_id: UUID, conversation_id: UUID, _: int) -> Log:
        self.asked.append(generation_id)
        return Log(generation_id, conversation_id)


class TestHub:
    async def test_a_log_that_grows_here_is_read_here_and_any_other_is_sought(self) -> None:
        elsewhere = Elsewhere()
        hub = Hub(elsewhere)  # type: ignore[arg-type]
        log = hub.open(uuid4(), uuid4())
        assert hub.get(log.generation_id) is log
        assert await hub.find(log.generation_id, log.conversation_id) is log
        hub.drop(log)
        assert hub.get(log.generation_id) is None
        assert await hub.find(log.generation_id, log.conversation_id) is not log
        assert elsewhere.asked == [log.generation_id]

    async def test_a_log_that_grows_no_more_is_held_by_its_readers_alone(self) -> None:
        hub = Hub(Elsewhere())  # type: ignore[arg-type]
        log = hub.open(uuid4(), uuid4())
        known = weakref.ref(log)
        hub.drop(log)
        del log
        assert known() is None
