"""The output of `chat-api sql`: for people, and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from chat_api.commands.numbers import counted
from chat_api.commands.sql.catalog import NamedQuery
from chat_api.commands.sql.explain import Explained
from chat_api.commands.sql.health import Sign
from chat_api.commands.sql.plan_changes import FEW_BUFFERS, Change
from chat_api.commands.sql.plans import Saved
from chat_api.commands.sql.schema import Finding


def about(query: NamedQuery) -> dict[str, Any]:
    """A query as an entry of `list --json`."""
    return {
        "name": query.name,
        "file": str(query.path),
        "line": query.line,
        "own": query.sent.is_own,
        "description": query.description,
        "parameters": query.parameters,
        "returns": query.returns,
        "callers": query.callers,
        **asdict(query.usage),
    }


def print_list(queries: list[NamedQuery]) -> None:
    """Print two lines per query: its name, place, callers and how often; then what it does."""
    names = max((len(query.name) for query in queries), default=0)
    places = max((len(query.place) for query in queries), default=0)
    for query in queries:
        about = f"{_callers(query)}: {query.usage.how_often}"
        if query.sent.is_own:
            about = f"own, in place of the packaged one; {about}"
        sys.stdout.write(f"{query.name:<{names}}  {query.place:<{places}}  {about}\n")
        sys.stdout.write(f"    {query.description}\n")


def print_query(query: NamedQuery) -> None:
    """Print a script for psql: the query verbatim, then, as comments, where it is and how to run it."""
    variables = "".join(f" \\\n--       -v {name}=\"'...'\"" for name in query.parameters)
    how = ", each value in its own quotes, or null without" if query.parameters else ""
    sys.stdout.write(
        f"{query.text}\n\n"
        f"-- {query.place}; called by {_callers(query)}, which takes {query.returns}.\n"
        f"-- When: {query.usage.when}; how often: {query.usage.how_often}.\n"
        f"-- Run it{how}:\n"
        f'--   chat-api sql show {query.name} | psql "$DATABASE_URL"{variables}\n'
    )


def print_differences(differences: dict[str, str]) -> None:
    """Print the unified diffs, as `diff -u` does."""
    sys.stdout.write("".join(differences.values()))


def print_copy(query: NamedQuery) -> None:
    """Say where the copy is."""
    sys.stdout.write(f"{query.place}: edit it there, then `chat-api sql check`, and send SIGHUP\n")


def print_findings(findings: list[Finding], queries: int, database: str) -> None:
    """Print a line per finding, and below it the remedy. Findings in a row with one remedy share it."""
    for finding, following in zip_longest(findings, findings[1:]):
        sys.stdout.write(f"{finding.kind} {finding.name} {finding.problem}\n")
        if finding.remedy and (following is None or following.remedy != finding.remedy):
            sys.stdout.write(f"    {finding.remedy}\n")
    if not findings:
        sys.stdout.write(f"{queries} queries fit {database}, which has the columns and indexes they need\n")


def print_plan(query: NamedQuery, explained: Explained) -> None:
    """Print the parameters as comments, then PostgreSQL's lines."""
    sys.stdout.write(f"-- {query.name}, executed and rolled back\n")
    for name, sample in explained.samples.values.items():
        value = "null" if sample.value is None else repr(sample.value)
        sys.stdout.write(f"--   {name} = {value} ({sample.source})\n")
    if explained.samples.note:
        sys.stdout.write(f"-- {explained.samples.note}\n")
    for line in explained.plan:
        sys.stdout.write(f"{line}\n")


def print_signs(signs: list[Sign]) -> None:
    """Print a line per sign, and below it what to do."""
    for sign in signs:
        about = f"{sign.check} {sign.subject}" if sign.subject else f"{sign.check}:"
        sys.stdout.write(f"{sign.status:<6} {about} {sign.finding}\n")
        if sign.remedy:
            sys.stdout.write(f"    {sign.remedy}\n")


def print_saved(path: str, saved: Saved) -> None:
    """Print what was saved where, and the queries that failed."""
    sys.stdout.write(f"saved the plans of {len(saved.plans)} queries in {path}: {_made_on(saved)}\n")
    for name, reason in saved.failed.items():
        sys.stdout.write(f"failed {name}: {reason}\n")


def print_changes(changes: list[Change], before: Saved, now: Saved, tolerance: int) -> None:
    """Print a line per change, below it the cases that have it, and what both sides were made on."""
    for change in changes:
        sys.stdout.write(f"{change.name} {change.what}\n")
        sys.stdout.writelines(f"    {line}\n" for line in (", ".join(change.cases), *change.details) if line)
    sys.stdout.write(f"before: {_made_on(before)}\nnow: {_made_on(now)}\n")
    many = f"{counted(len(changes), 'change') if changes else 'no changes'} in {len(now.plans)} queries"
    sys.stdout.write(f"{many}; more buffers count beyond {tolerance} % and {FEW_BUFFERS}\n")


def _made_on(saved: Saved) -> str:
    return f"PostgreSQL {saved.server}, {len(saved.migrations)} migrations to {saved.migrations[-1]}"


def print_lines(lines: Iterable[str]) -> None:
    """Print lines as they are."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _callers(query: NamedQuery) -> str:
    return ", ".join(query.callers) or "nobody"
