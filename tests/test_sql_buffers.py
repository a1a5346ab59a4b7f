"""What a hot statement touches in PostgreSQL doesn't grow with the history, but for the levels of the indexes."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from bench.buffers import Touched, fill, measure
from bench.statements import HISTORY, HOT, MOST
from chat_api.dev.postgres import Postgres

SMALL, LARGE = (1_000, 10_000), (100_000, 1_000_000)  # conversations, messages

# A hundredfold table has indexes that are one level deeper, so each descent from a root costs one buffer more. Where a
# statement needs more than two descents, it can't grow by less.
DESCENTS = {
    "conversations.update": 3,  # finds it; the new version of the row goes into both indexes
    # Finds the conversation, writes it into both indexes, and two foreign keys look for it: 6. Looks for the key and
    # stores it, stores the place among the conversation's generations, reads and adds messages: 5. But a deep index
    # on ids that only grow is appended to without a descent, messages and generations: 2 less.
    "generations.start": 9,
    "generations.start, regenerate": 9,  # the same; instead of a message stored, the question found
    "generations.start, key used": 3,  # the conversation, the key, the question that came with it
    # Locks the conversation, writes it as above, and the answer's foreign key looks for it: 5. Finds the generation
    # twice, and its new version goes into three indexes, the answer into two: 7. Four go to where only ids grow.
    "generations.finish": 8,
    "generations.begun": 10,  # ten conversations, each in a place of its own
    "messages.exchange": 3,  # the generation, the question, the answer
}


@pytest.fixture(scope="module")
def touched(postgres: Postgres, template: str) -> tuple[dict[str, Touched], dict[str, Touched]]:
    """What each hot statement touches in the small history, and in the large one."""
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        both = []
        for sizes in (SMALL, LARGE):
            name = sql.Identifier(f"buffers_{sizes[1]}")
            admin.execute(sql.SQL("create database {} template {}").format(name, sql.Identifier(template)))
            try:
                with psycopg.connect(postgres.dsn(f"buffers_{sizes[1]}"), autocommit=True) as connection:
                    fill(connection, *sizes)
                    both.append(measure(connection))
            finally:
                admin.execute(sql.SQL("drop database {} with (force)").format(name))
    return both[0], both[1]


@pytest.mark.parametrize("case", HOT)
def test_a_hundredfold_history_costs_a_hot_statement_no_more_than_the_levels_of_its_indexes(
    touched: tuple[dict[str, Touched], dict[str, Touched]], case: str
) -> None:
    small, large = (each[case] for each in touched)
    assert large.buffers - small.buffers <= DESCENTS.get(case, 2), (small.relations, large.relations)


@pytest.mark.parametrize("case", HOT)
def test_a_hot_statement_reads_no_table_in_sequence_and_sorts_no_more_than_a_page(
    touched: tuple[dict[str, Touched], dict[str, Touched]], case: str
) -> None:
    for each in touched:
        assert each[case].scanned == set()
        # A history is the question and so many stored messages.
        assert each[case].sorted_rows <= (HISTORY + 1 if case.startswith("generations.") else MOST)
