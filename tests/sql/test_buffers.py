"""What a hot statement touches in PostgreSQL grows with the depth of indexes, not with the history."""

from __future__ import annotations

import psycopg
from psycopg import sql

from bench.buffers import Touched, fill, measure
from bench.statements import HISTORY, MOST
from chat_api.dev.postgres.server import Postgres

SMALL, LARGE = (1_000, 10_000), (100_000, 1_000_000)  # conversations, messages

# The indexes of a hundredfold table are one level deeper, so each descent from a root costs one buffer more.
# Where a statement can't do with two descents, it can't grow by less.
DESCENTS = {
    "conversations.update": 3,  # finds it; the new version of the row goes into both indexes
    # Finds the conversation, finds it again and writes it into both indexes, two foreign keys look for it: 6.
    # Looks for the key and stores it, stores its place in the conversation, reads messages and adds one: 5.
    # A deep index is appended to without a descent, and ids of generations and messages only grow: -2.
    "generations.start": 9,
    # A look more for the key, and one for the conversation, to lock it. What is counted lies in small tables.
    "generations.start, limited": 11,
    # The same, with one foreign key and one append less; the question is found, and none added.
    "generations.start, regenerate": 9,
    "generations.start, key used": 3,  # the conversation, the key, the question that came with it
    # Finds the conversation, finds it again and writes it into both indexes, a foreign key looks for it: 5.
    # Finds the generation twice, stores its key and its place anew, and the answer's place: 5. Appends: -2.
    "generations.finish": 8,
    "generations.begun": 10,  # ten conversations, each in a place of its own
    "messages.exchange": 3,  # the generation, the question, the answer
}


def measured(postgres: Postgres, template: str, sizes: tuple[int, int]) -> dict[str, Touched]:
    database = f"buffers_{sizes[1]}"
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        name = sql.Identifier(database)
        admin.execute(sql.SQL("create database {} template {}").format(name, sql.Identifier(template)))
        try:
            with psycopg.connect(postgres.dsn(database), autocommit=True) as connection:
                fill(connection, *sizes)
                return measure(connection)
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(name))


# One test, because each process of a parallel run would fill the large history again.
def test_a_hundredfold_history_costs_a_level_an_index_no_scan_and_no_sort_of_more_than_a_page(
    postgres: Postgres, template: str
) -> None:
    small, large = (measured(postgres, template, sizes) for sizes in (SMALL, LARGE))
    assert small.keys() == large.keys()
    too_much = [
        f"{case}: {relation} {small[case].relations.get(relation, 0)} to {count}"
        for case in large
        if large[case].buffers - small[case].buffers > DESCENTS.get(case, 2)
        for relation, count in large[case].relations.items()
        if count != small[case].relations.get(relation, 0)
    ]
    assert not too_much, "\n".join(too_much)
    for touched in (small, large):
        assert {case: each.scanned for case, each in touched.items() if each.scanned} == {}
        sorted_rows = {case: each.sorted_rows for case, each in touched.items()}
        assert max(sorted_rows.values()) <= MOST
        # The question, and so many stored messages.
        assert max(sorted_rows[case] for case in sorted_rows if "start" in case) <= HISTORY + 1
