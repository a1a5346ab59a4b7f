"""Parts of the relay: the log and the hub."""

from __future__ import annotations

import asyncio
import weakref
from uuid import UUID, uuid4

import pytest

from chat_api.relay import EVENTS_A_WRITE, Encode, Log
from chat_api.relay.hub import Hub
from chat_api.relay.log import PACKED


def numbered(_: UUID, __: UUID) -> Encode:
    return lambda seq, data: b"%d:%s" % (seq, data)


class Joined:
    """A reader that keeps the events it gets, and leaves when it has enough."""

    def __init__(self, log: Log, enough: int = 99) -> None:
        self.log = log
        self.enough = enough
        self.taken: list[bytes] = []
        self.ended = False
        log.join(self, numbered)

    def write(self, frames: bytes) -> None:
        self.taken.append(frames)
        if len(self.taken) == self.enough:
            self.log.leave(self, numbered)

    def end(self) -> None:
        self.ended = True


def filled(*data: bytes, last: bool = False) -> Log:
    log = Log(uuid4(), uuid4())
    for place, each in enumerate(data):
        log.append(each, last=last and place == len(data) - 1)
    return log


class TestLog:
    def test_events_are_numbered_without_a_gap(self) -> None:
        log = filled(b"a", b"b", b"c")
        assert log.read(0, 9, numbered) == [b"0:a", b"1:b", b"2:c"]
        assert log.next_seq == 3

    def test_a_closed_log_takes_nothing(self) -> None:
        log = filled(b"a", last=True)
        with pytest.raises(ValueError, match="closed"):
            log.append(b"b")
        assert log.events(0) == [b"a"]

    @pytest.mark.parametrize(("seq", "place"), [(-1, 0), (0, 1), (4, 1), (5, 2), (6, 3), (99, 3)])
    def test_a_reader_continues_after_what_it_saw_though_numbers_are_missing(
        self, seq: int, place: int
    ) -> None:
        log = filled(b"a")
        log.skip_to(5)
        log.append(b"b")
        log.append(b"c", last=True)
        assert log.read(0, 9, numbered) == [b"0:a", b"5:b", b"6:c"]
        assert log.next_seq == 7
        assert log.place_after(seq) == place

    @pytest.mark.parametrize("seq", [-1, 0, 1, 7])
    def test_a_reader_may_be_ahead_of_a_log_that_grows(self, seq: int) -> None:
        assert filled(b"a", b"b").place_after(seq) == seq + 1

    def test_a_slice_is_as_large_as_asked(self) -> None:
        log = filled(b"a", b"b", b"c")
        assert log.read(0, 2, numbered) == [b"0:a", b"1:b"]
        assert log.read(2, 2, numbered) == [b"2:c"]
        assert log.read(3, 2, numbered) == []

    @pytest.mark.parametrize("count", [0, 1, PACKED - 1, PACKED, PACKED + 1, 3 * PACKED, 3 * PACKED + 5])
    @pytest.mark.parametrize("together", [True, False])
    def test_every_slice_of_a_packed_log_is_what_was_said(self, count: int, together: bool) -> None:
        said = [b"%d" % number if number % 7 else b"" for number in range(count)]
        log = Log(uuid4(), uuid4())
        if together:
            log.extend(said)
        else:
            for data in said:
                log.append(data)
        assert log.count == count
        for place in range(count + 2):
            assert log.events(place) == said[place:]
            for limit in (1, 2, PACKED, PACKED + 1, 2 * PACKED + 3):
                assert log.events(place, limit) == said[place : place + limit]

    def test_more_than_a_write_can_hold_is_left_to_the_readers(self) -> None:
        log = filled(b"a")
        reader = Joined(log)
        log.extend([b"x"] * (EVENTS_A_WRITE + 1))
        assert (reader.taken, reader.ended) == ([], True)

    def test_an_event_is_encoded_once_however_many_joined(self) -> None:
        log = filled(b"a")
        readers = [Joined(log) for _ in range(3)]
        log.append(b"b")
        log.extend([b"c", b"d"])
        log.extend([])
        for reader in readers:
            assert reader.taken == [b"1:b", b"2:c3:d"]
            assert all(taken is first for taken, first in zip(reader.taken, readers[0].taken, strict=True))

    def test_a_reader_that_leaves_while_it_is_handed_an_event_hinders_nobody(self) -> None:
        log = Log(uuid4(), uuid4())
        first, second = Joined(log, enough=1), Joined(log, enough=2)
        for data in (b"a", b"b", b"c"):
            log.append(data)
        assert (first.taken, second.taken) == ([b"0:a"], [b"0:a", b"1:b"])

    @pytest.mark.parametrize("end", ["closed", "sent_away"])
    def test_all_who_joined_are_told_of_the_end(self, end: str) -> None:
        log = Log(uuid4(), uuid4())
        readers = [Joined(log) for _ in range(2)]
        log.append(b"a", last=end == "closed")
        if end == "sent_away":
            assert not any(reader.ended for reader in readers)
            log.send_away()
        assert [(reader.taken, reader.ended) for reader in readers] == [([b"0:a"], True)] * 2

    async def test_the_end_is_waited_for_past_every_event(self) -> None:
        log = Log(uuid4(), uuid4())
        reader = asyncio.create_task(log.wait_closed())
        for last in (False, False, True):
            assert not reader.done()
            log.append(b"a", last=last)
            await asyncio.sleep(0)
        async with asyncio.timeout(1):
            await reader

    async def test_who_waits_for_a_closed_log_does_not_wait(self) -> None:
        log = filled(b"a", last=True)
        async with asyncio.timeout(1):
            assert await log.wait_closed()

    async def test_who_waits_for_the_end_hears_that_it_is_elsewhere(self) -> None:
        log = filled(b"a")
        waiting = asyncio.create_task(log.wait_closed())
        await asyncio.sleep(0)
        log.send_away()
        async with asyncio.timeout(1):
            assert not await waiting

    async def test_a_reader_that_leaves_is_forgotten(self) -> None:
        log = Log(uuid4(), uuid4())
        reader = asyncio.create_task(log.wait_closed())
        await asyncio.sleep(0)
        assert len(log._endings) == 1
        reader.cancel()
        await asyncio.wait({reader})
        assert not log._endings


class Elsewhere:
    """Stands in for the follower, with every log that this worker doesn't have."""

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
