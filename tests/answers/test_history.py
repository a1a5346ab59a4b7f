"""How much of a long conversation the model is sent, and what readers are told of the rest."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import orjson
import pytest

from chat_api.generation import history
from chat_api.generation.history import History
from chat_api.inference import Room

Stored = list[list[object]]


def talk(sizes: Sequence[tuple[int, int]], rng: random.Random, *, is_alone: bool = False) -> Stored:
    """A conversation of exchanges with so many characters, newest first.

    `is_alone`: no other conversation takes positions in between.
    """
    position = rng.randrange(1, 1_000_000)
    messages: Stored = []
    for asked, answered in sizes:
        for role, characters in (("user", asked), ("assistant", answered)):
            position += 2 if is_alone else rng.choice((2, 2, 4, 2 * rng.randrange(1, 1000)))
            messages.append([role, "🥟" * characters, None, None, position])
    return messages[::-1]


def sent(newest_first: Stored, room: Room, max_messages: int = 50, unread: int = 0) -> History:
    return history.read(orjson.dumps(newest_first).decode(), unread, room, max_messages)


QUESTION = ["user", "and?", None, None, None]


class TestSteps:
    @pytest.mark.parametrize("is_alone", [True, False])
    @pytest.mark.parametrize("seed", range(4))
    def test_the_beginning_stays_the_same_for_several_answers(self, seed: int, is_alone: bool) -> None:
        """As long as an exchange is a small part of the room: here a 25th, or a 20th of its characters."""
        rng = random.Random(seed)
        sizes = [(rng.randrange(1, 100), rng.randrange(1, 300)) for _ in range(300)]
        whole = talk(sizes, rng, is_alone=is_alone)[::-1]
        for room, max_messages in ((Room(4000, in_steps=True), 500), (Room(10**9, in_steps=True), 50)):
            firsts = []
            for turns in range(60, 300):
                now = [QUESTION, *whole[: 2 * turns][::-1]]
                messages = sent(now, room, max_messages).messages
                firsts.append(messages[0].position)
                assert messages[-1].content == "and?"
                assert messages[0].role == "user"
                assert len(messages) <= max_messages
                assert sum(each.characters for each in messages) <= room.characters
                # Nothing that fits into half the room is left out.
                assert (
                    len(messages) >= max_messages // 2 - 1
                    or sum(each.characters for each in messages) >= room.characters // 2 - 400
                )
            changes = sum(before != after for before, after in pairwise(firsts))
            assert changes <= 240 / 5
            assert firsts == sorted(firsts)  # it never goes back

    def test_without_steps_all_that_fits_is_sent(self) -> None:
        whole = talk([(3, 7)] * 40, random.Random(1))
        kept = sent([QUESTION, *whole], Room(101), max_messages=500)
        assert sum(each.characters for each in kept.messages) == 94
        assert kept.counts == {"sent": 19, "left_out": 62}

    def test_a_conversation_that_fits_is_sent_whole(self) -> None:
        whole = talk([(3, 7)] * 4, random.Random(1))
        assert sent([QUESTION, *whole], Room(44, in_steps=True)).counts == {"sent": 9, "left_out": 0}
        assert sent([QUESTION, *whole], Room(43, in_steps=True)).left_out > 0

    def test_what_wasnt_read_counts_too(self) -> None:
        whole = talk([(3, 7)] * 4, random.Random(1))
        assert sent([QUESTION, *whole], Room(44), unread=1000).counts == {"sent": 9, "left_out": 1000}


@pytest.mark.parametrize("in_steps", [True, False])
class TestTheNewestQuestion:
    def test_is_sent_however_long(self, in_steps: bool) -> None:
        question = ["user", "x" * 8000, None, None, None]
        kept = sent([question, *talk([(1, 1)], random.Random(1))], Room(10, in_steps))
        assert [each.content for each in kept.messages] == ["x" * 8000]
        assert kept.counts == {"sent": 1, "left_out": 2}

    def test_is_sent_with_the_calls_and_results_that_follow_it(self, in_steps: bool) -> None:
        call = {"id": "a", "name": "f", "arguments": "{}"}
        exchange = [
            ["tool", "result " * 100, None, "a", 9],
            ["assistant", "", [call], None, 7],
            ["user", "how warm?", None, None, 5],
        ]
        kept = sent([*exchange, *talk([(1, 1)], random.Random(1))], Room(10, in_steps))
        assert [each.role for each in kept.messages] == ["user", "assistant", "tool"]
        assert kept.counts == {"sent": 3, "left_out": 2}

    def test_is_sent_alone_after_one_huge_answer(self, in_steps: bool) -> None:
        kept = sent([QUESTION, *talk([(2, 200_000)], random.Random(1))], Room(24_000, in_steps))
        assert [each.content for each in kept.messages] == ["and?"]
        assert kept.counts == {"sent": 1, "left_out": 2}

    def test_is_sent_alone_where_no_question_is_in_the_room_with_it(self, in_steps: bool) -> None:
        answers: Stored = [["assistant", "a" * 30, None, None, 9 - place] for place in range(5)]
        assert sent([QUESTION, *answers], Room(100, in_steps)).counts == {"sent": 1, "left_out": 5}

    def test_is_sent_where_there_is_room_for_nothing(self, in_steps: bool) -> None:
        kept = sent([QUESTION, *talk([(1, 1)], random.Random(1))], Room(0, in_steps), max_messages=1)
        assert kept.counts == {"sent": 1, "left_out": 2}


def test_instructions_of_an_adopted_conversation_stay_and_an_answer_before_the_first_question_goes() -> None:
    stored: Stored = [
        ["user", "1", None, None, None],
        ["system", "Be kind.", None, None, 2],
        ["assistant", "Welcome", None, None, 1],
    ]
    kept = sent(stored, Room(1000))
    assert [each.role for each in kept.messages] == ["system", "user"]
    assert kept.left_out == 0
