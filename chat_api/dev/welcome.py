"""The text that the developer reads once everything is running."""

import sys
from pathlib import Path

_WELCOME = """
Ready. Open the page, which signs in by itself:

  page     {address}/
  token    {token}
  psql     "{database}"
  API key  DATABASE_URL="{database}" {program} key create --user {user_id} --name mine

Or ask in another terminal:

{curl}

Ctrl-C ends it. The data stays in {data_dir}
"""


def curl_line(address: str, token: str) -> str:
    """Make one command for bash that opens a conversation, asks a question and streams the answer."""
    headers = """-H "Authorization: Bearer $T" -H 'Content-Type: application/json'"""
    first_id = """grep -o '"id": *"[^"]*"' | head -n 1 | cut -d '"' -f 4"""
    return (
        f"T='{token}'; ID=$(curl -sS {headers} -d '{{}}' {address}/api/conversations | {first_id}) && "
        f'curl -sS -N {headers} -d \'{{"content":"Hello! Who are you?","max_tokens":60}}\' '
        f'"{address}/api/conversations/$ID/messages"'
    )


def welcome(address: str, token: str, user_id: str, database: str, data_dir: str) -> str:
    """Make the text: the URLs of the page and the database, a token, and commands for a key and for curl."""
    return _WELCOME.format(
        address=address,
        token=token,
        user_id=user_id,
        database=database,
        program=Path(sys.executable).with_name("chat-api"),
        curl=curl_line(address, token),
        data_dir=data_dir,
    )
