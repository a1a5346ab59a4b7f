"""The buffers that a hot statement touches grow with the depth of indexes, not with the history."""

from __future__ import annotations

import psycopg
from psycopg import sql

from bench.buffers import Touched, fill, measure
from bench.statements import HISTORY, MOST
from chat_api.dev.postgres.server import Postgres

SMALL, LARGE = (1_000, 10_000), (100_000, 1_000_000)  # conversations, messages

# In a table a hundred times as large, indexes are one level deeper, so each descent costs one more buffer.
# Cases that need more than two descents grow by more than two buffers.
DESCENTS = {
    # Its thousand messages may start in the middle of a page, of the index and of the table.
    "conversations.get, long": 3,
    "conversations.get, newest": 4,  # walks the index of positions twice
    # Finds the row, locks it, finds it again; its new version goes into both indexes.
    "conversations.update": 5,
    # Finds the conversation, finds it again and writes it into both indexes; two foreign keys look it up: 6.
    # Looks for the key and stores it, stores its place in the conversation, reads messages and adds one: 5.
    # A deep index is appended to without a descent, and ids of generations and messages only grow: -2.
    # The small history's index of positions is a level less deep than others, and walked twice: 1.
    # Counts 200 messages that are left out, which may start in the middle of a page of the index: 2.
    "generations.start": 12,
    # One more look-up of the key, and one of the conversation, to lock it. The counts are in small tables.
    "generations.start, limited": 14,
    # The same, with one foreign key and one append fewer; the question is found instead of added. The newest
    # generation is found too, for its options.
    "generations.start, regenerate": 12,
    "generations.start, key used": 3,  # the conversation, the key, and the question stored with it
    # Finds the conversation, finds it again and writes it into both indexes; a foreign key looks it up: 5.
    # Finds the generation twice, stores its key and its place again, and the answer's place: 5. Appends: -2.
    # What it used goes into an index of users, and into one of days, which may be two levels deeper: 3.
    "generations.finish": 11,
    "generations.finish, regenerated": 8,
    "generations.begun": 20,  # ten conversations, each in a different place: their versions and generations
    # The generation, the question and the answer, what each comes after, and other versions.
    "messages.exchange": 6,
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


# One test, because otherwise each process of a parallel run would fill the large history.
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
        # The question, and this many stored messages.
        assert max(sorted_rows[case] for case in sorted_rows if "start" in case) <= HISTORY + 1
