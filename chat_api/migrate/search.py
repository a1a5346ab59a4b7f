"""Has the table that search reads filled, or left empty, as SEARCH says."""

from __future__ import annotations

from chat_api.migrate.errors import explain_errors
from chat_api.migrate.session import LOCK_TIMEOUT
from chat_api.postgres.session import connected
from chat_api.settings.database_url import parse_dsn


def switch_search(database_url: str, search: str) -> bool:
    """Fill the table that search reads ("on"), or empty it and keep it so ("off"). False if it is so already.

    Blocks. Call it when no migration is pending.

    Raises:
        ValueError: the URL isn't valid (see `parse_dsn`).
        SessionError: it failed. The text is the sentence to show.
    """
    is_on = search == "on"
    with (
        explain_errors(f"cannot switch search {search}"),
        connected(parse_dsn(database_url)) as connection,
    ):
        if connection.execute("select chat_search_is_on()").fetchone() == (is_on,):
            return False
        connection.execute("select set_config('lock_timeout', %s, false)", (LOCK_TIMEOUT,))
        connection.execute("select chat_use_search(%s)", (is_on,))
        connection.execute("call chat_fill_search()")
    return True
