"""What `chat-api sql` does. Each action returns an exit status."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict

from chat_api.commands.errors import MisusedError
from chat_api.commands.json_output import print_json
from chat_api.commands.sql import plan_file, report
from chat_api.commands.sql.catalog import find, read_catalog
from chat_api.commands.sql.check import check
from chat_api.commands.sql.describe import as_markdown, as_mermaid, as_objects, describe
from chat_api.commands.sql.explain import explain
from chat_api.commands.sql.health import examine
from chat_api.commands.sql.own import copy, differences
from chat_api.commands.sql.plan_changes import FEW_BUFFERS, compare_plans
from chat_api.commands.sql.plans import take_plans
from chat_api.commands.sql.samples import parse_given
from chat_api.settings import load_settings
from chat_api.settings.database_url import parse_dsn
from chat_api.settings.reading import variable

DIFFERENT = 1


def _own() -> str:
    """SQL_DIR alone, for what needs no other setting."""
    return variable("SQL_DIR")


def _list(options: argparse.Namespace) -> int:
    queries = list(read_catalog(_own()).values())
    if options.json:
        print_json([report.about(query) for query in queries])
    else:
        report.print_list(queries)
    return 0


def _show(options: argparse.Namespace) -> int:
    query = find(options.name, _own())
    if options.json:
        print_json({**report.about(query), "comment": query.comment, "sql": query.statement})
    else:
        report.print_query(query)
    return 0


def _diff(options: argparse.Namespace) -> int:
    found = differences(_own(), options.name)
    if options.json:
        print_json(found)
    else:
        report.print_differences(found)
    return DIFFERENT if any(found.values()) else 0


def _copy(options: argparse.Namespace) -> int:
    query = copy(options.name, _own())
    if options.json:
        print_json(report.about(query))
    else:
        report.print_copy(query)
    return 0


def _check(options: argparse.Namespace) -> int:
    settings = load_settings()
    database = parse_dsn(settings.database_url).redacted()
    queries = len(read_catalog())
    findings = check(settings)
    if options.json:
        found = [asdict(finding) for finding in findings]
        print_json({"ok": not found, "database": database, "queries": queries, "findings": found})
    else:
        report.print_findings(findings, queries, database)
    return DIFFERENT if findings else 0


def _explain(options: argparse.Namespace) -> int:
    settings = load_settings()
    query = find(options.name, settings.sql_dir)
    explained = explain(
        settings.database_url,
        query,
        parse_given(query, options.param),
        seconds=options.timeout,
        generic=options.generic,
        as_json=options.json,
    )
    if options.json:
        parameters = {name: asdict(sample) for name, sample in explained.samples.values.items()}
        print_json(
            {
                "name": query.name,
                "parameters": parameters,
                "note": explained.samples.note,
                "plan": explained.plan,
            }
        )
    else:
        report.print_plan(query, explained)
    return 0


def _plans(options: argparse.Namespace) -> int:
    if options.save:
        saved = take_plans(load_settings(), seconds=options.timeout)
        plan_file.write(options.save, saved)
        if options.json:
            print_json({"file": options.save, "failed": saved.failed, **saved.about})
        else:
            report.print_saved(options.save, saved)
        return DIFFERENT if saved.failed else 0
    before = plan_file.read(options.compare)  # before the work of taking plans
    now = take_plans(load_settings(), seconds=options.timeout)
    changes = list(compare_plans(before, now, options.tolerance))
    if options.json:
        found = [asdict(change) for change in changes]
        print_json(
            {
                "ok": not changes,
                "tolerance_percent": options.tolerance,
                "tolerance_buffers": FEW_BUFFERS,
                "before": before.about,
                "now": now.about,
                "changes": found,
            }
        )
    else:
        report.print_changes(changes, before, now, options.tolerance)
    return DIFFERENT if changes else 0


def _health(options: argparse.Namespace) -> int:
    url = load_settings().database_url
    signs = examine(url)
    is_well = all(sign.status != "wrong" for sign in signs)
    if options.json:
        database = parse_dsn(url).redacted()
        print_json({"ok": is_well, "database": database, "checks": [asdict(sign) for sign in signs]})
    else:
        report.print_signs(signs)
    return 0 if is_well else DIFFERENT


def _describe(options: argparse.Namespace) -> int:
    if options.json and options.mermaid:
        raise MisusedError("--json and --mermaid are two forms of the same: give one of them")
    relations = describe(load_settings().database_url)
    if options.json:
        print_json(as_objects(relations))
    else:
        report.print_lines(as_mermaid(relations) if options.mermaid else as_markdown(relations))
    return 0


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "show": _show,
    "diff": _diff,
    "copy": _copy,
    "check": _check,
    "explain": _explain,
    "plans": _plans,
    "health": _health,
    "describe": _describe,
}
