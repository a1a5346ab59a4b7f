"""What `chat-api budget` does. Each action returns an exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from chat_api.commands.budget.arguments import UNLIMITED
from chat_api.commands.data.queries import session
from chat_api.commands.errors import FailedError, MisusedError
from chat_api.commands.json_output import print_json, print_rows
from chat_api.settings import load_settings


def _set(options: argparse.Namespace) -> int:
    given = {"tokens": options.tokens, "cost": options.cost, "answers": options.answers}
    unit, amount = next((unit, amount) for unit, amount in given.items() if amount is not None)
    if (unit == "cost") != (options.currency is not None):
        raise MisusedError("--cost needs --currency, and nothing else does: --cost 20 --currency EUR")
    if amount == UNLIMITED and options.user is None:
        raise MisusedError(f"`{UNLIMITED}` needs --user: otherwise, remove the budget")
    budget = {
        "scope": "user" if options.user else "everybody" if options.everybody else "each",
        "user_id": options.user,
        "model_tag": options.model,
        "period": options.period,
        "unit": unit,
        "currency": options.currency,
        "amount": None if amount == UNLIMITED else amount,
    }
    with session(load_settings()) as db:
        row = db.row("budgets.put", **budget)
    if options.json:
        print_json({"id": row["id"], **budget})
    else:
        sys.stdout.write(f"{'set' if row['is_new'] else 'changed'}: {_in_words(budget)}\n")
    return 0


def _list(options: argparse.Namespace) -> int:
    with session(load_settings()) as db:
        rows = db.rows("budgets.list")
    return print_rows(rows, _with_use, "budgets", as_json=options.json)


def _remove(options: argparse.Namespace) -> int:
    with session(load_settings()) as db:
        removed = db.rows("budgets.remove", id=options.id)
    if not removed:
        raise FailedError(f"there is no budget {options.id}: `chat-api budget list` lists them")
    sys.stdout.write(f"removed {options.id}\n")
    return 0


def _with_use(budget: dict[str, Any]) -> str:
    spent = "" if budget["spent"] is None else f"; {_number(budget['spent'])} used"
    return f"{budget['id']}  {_in_words(budget)}{spent}"


def _in_words(budget: dict[str, Any]) -> str:
    """Such as: user 7b0e…: 20 EUR a month for qwen."""
    whose = {"everybody": "everybody together", "each": "each user"}.get(
        budget["scope"], f"user {budget['user_id']}"
    )
    amount = UNLIMITED if budget["amount"] is None else _number(budget["amount"])
    model = "" if budget["model_tag"] is None else f" of the model {budget['model_tag']}"
    unit = budget["unit"].removesuffix("s") if budget["amount"] == 1 else budget["unit"]
    return f"{whose}: {amount} {budget['currency'] or unit} a {budget['period']}{model}"


def _number(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {"set": _set, "list": _list, "remove": _remove}
