"""What `chat-api key` does. Each action returns an exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from psycopg.rows import DictRow

from chat_api.access.keys import MOST_SECONDS, SHOWN_CHARACTERS, digest_of, new_key
from chat_api.access.principal import user_id_of
from chat_api.commands.errors import FailedError, MisusedError
from chat_api.commands.json_output import print_json, print_rows
from chat_api.commands.owner import Table, owned
from chat_api.settings import load_settings

APPLICATION = "chat-api key"
"""The application name that pg_stat_activity shows."""

_FOLDER = Path(__file__).resolve().parent


def _create(options: argparse.Namespace) -> int:
    settings = load_settings()
    if options.subject and not settings.auth_issuer and "header" not in settings.ways:
        raise MisusedError(
            "--subject needs the service's AUTH and AUTH_ISSUER, of which the user's id is made"
        )
    user_id = options.user or user_id_of(settings.issuer, options.subject)
    key = new_key()
    with _session() as table:
        table.require_owner("makes keys")
        (row,) = table.run(
            "create",
            user_id=user_id,
            name=options.name,
            shown=key[:SHOWN_CHARACTERS],
            digest=digest_of(key),
            scopes=options.scopes,
            days=options.days,
        )
    if options.json:
        print_json({"key": key, **row})
        return 0
    sys.stdout.write(f"{key}\n")
    sys.stdout.flush()
    sys.stderr.write(
        f"made: {_in_words(row)}\nThe key is shown this once. Keep it where passwords are kept.\n"
    )
    if "keys" not in settings.ways:
        sys.stderr.write("It signs in once the service runs with keys in AUTH, such as AUTH=service,keys.\n")
    return 0


def _list(options: argparse.Namespace) -> int:
    with _session() as table:
        table.require()
        rows = table.run("list", user_id=options.user)
    return print_rows(rows, _in_words, "keys", as_json=options.json)


def _revoke(options: argparse.Namespace) -> int:
    with _session() as table:
        table.require()
        revoked = table.run("revoke", id=options.id)
    if not revoked:
        raise FailedError(f"there is no key {options.id}: `chat-api key list` lists them")
    if options.json:
        print_json(revoked[0])
    else:
        sys.stdout.write(
            f"revoked: {_in_words(revoked[0])}\n"
            f"Workers that have used it lately refuse it within {MOST_SECONDS} seconds.\n"
        )
    return 0


def _session() -> AbstractContextManager[Table]:
    return owned("api_keys", _FOLDER, APPLICATION)


def _in_words(key: DictRow) -> str:
    """Such as: 01a2… sck_3f9a0c… nightly report, user 7b0e…: read, chat; expires 2027-01-01; never used."""
    until = "never expires" if key["expires_at"] is None else f"expires {key['expires_at']:%Y-%m-%d}"
    used = "never used" if key["last_used_at"] is None else f"used {key['last_used_at']:%Y-%m-%d %H:%M} UTC"
    scopes = ", ".join(key["scopes"])
    return f"{key['id']}  {key['shown']}…  {key['name']}, user {key['user_id']}: {scopes}; {until}; {used}"


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "create": _create,
    "list": _list,
    "revoke": _revoke,
}
