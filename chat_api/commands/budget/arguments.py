"""The arguments of `chat-api budget`. Every command loads this module, so it imports no psycopg."""

from __future__ import annotations

import argparse
import re
from decimal import Decimal
from typing import Any

from chat_api.commands.ids import uuid_of
from chat_api.commands.output import print_result

UNLIMITED = "unlimited"
MAX_NAME = 100  # characters of a model's tag


def add_budget_command(commands: Any) -> None:
    """Add `budget` to argparse's subparsers. Its option `action` is a name in ACTIONS."""
    budget = commands.add_parser(
        "budget",
        help="limit the tokens, money or answers of a day, a week or a month",
        description="Set, list and remove budgets. They count at once, with what was used before, and for "
        "all workers; nothing needs a restart.",
        epilog="docs/operations/usage.md has the details, and shows how to do the same with psql.",
    )
    actions = budget.add_subparsers(title="actions", metavar="ACTION", required=True)

    put = actions.add_parser(
        "set",
        help="make a budget, or change its amount",
        description="Make a budget. If there is one for the same users, model, period and unit, its amount "
        "changes.",
    )
    whose = put.add_mutually_exclusive_group(required=True)
    whose.add_argument("--everybody", action="store_true", help="for all users together")
    whose.add_argument("--each", action="store_true", help="for every user by itself")
    whose.add_argument(
        "--user", type=uuid_of("a user"), metavar="UUID", help="for one user, in place of the budget for each"
    )
    put.add_argument(
        "--model",
        type=_model,
        metavar="TAG",
        help="of this model alone, by its tag in MODELS_FILE (default: all models)",
    )
    put.add_argument(
        "--period", choices=("day", "week", "month"), required=True, help="in UTC; weeks begin on Monday"
    )
    unit = put.add_mutually_exclusive_group(required=True)
    unit.add_argument("--tokens", type=_whole, metavar="N", help="of prompts and completions together")
    unit.add_argument("--cost", type=_amount, metavar="AMOUNT", help="money, by the prices in MODELS_FILE")
    unit.add_argument(
        "--answers",
        type=_whole,
        metavar="N",
        help="answers, but none that failed without a word. With --user, each of these three may be "
        f"`{UNLIMITED}`",
    )
    put.add_argument(
        "--currency", type=_currency, metavar="CODE", help="with --cost: the currency, such as EUR (required)"
    )
    put.add_argument("--json", action="store_true", help="print JSON")
    put.set_defaults(command=budget_command, action="set")

    listed = actions.add_parser(
        "list",
        help="list the budgets, and what is used of them",
        description="List all budgets, and what was used of each in its current period. For a budget of "
        "every user, that isn't one number: GET /api/usage shows each user their own.",
    )
    listed.add_argument("--json", action="store_true", help="print JSON")
    listed.set_defaults(command=budget_command, action="list")

    remove = actions.add_parser("remove", help="remove a budget", description="Remove a budget for good.")
    remove.add_argument(
        "id", type=uuid_of("a budget"), metavar="ID", help="its id, as `chat-api budget list` shows it"
    )
    remove.set_defaults(command=budget_command, action="remove")


def budget_command(options: argparse.Namespace) -> int:
    """Run the chosen action. Returns the exit status. Raises MisusedError, FailedError, SettingsError."""
    from chat_api.commands.budget.actions import ACTIONS  # noqa: PLC0415 - serve needs no psycopg

    return print_result(ACTIONS[options.action], options)


def _amount(text: str) -> Decimal | str:
    if text == UNLIMITED:
        return text
    if not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,10})?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r}: give a number such as 100000, or {UNLIMITED}")
    return Decimal(text)


def _whole(text: str) -> Decimal | str:
    if text != UNLIMITED and not re.fullmatch(r"[0-9]{1,15}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number such as 100000, or {UNLIMITED}")
    return _amount(text)


def _model(text: str) -> str:
    if not 0 < len(text) <= MAX_NAME or not text.isprintable():
        raise argparse.ArgumentTypeError(
            f"{text!r}: give a tag of MODELS_FILE, of 1 to {MAX_NAME} characters, or no --model for all"
        )
    return text


def _currency(text: str) -> str:
    if not re.fullmatch("[A-Z]{3}", text):
        raise argparse.ArgumentTypeError(f"{text!r}: give the currency's three capital letters, such as EUR")
    return text
