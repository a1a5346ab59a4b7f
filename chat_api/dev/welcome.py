"""What the developer reads when everything runs."""

_WELCOME = """
Ready. Open the page, which signs in by itself:

  page     {address}/
  token    {token}
  psql     "{database}"

Or ask in another terminal:

{curl}

Ctrl-C ends it. The data stays in {data_dir}
"""


def curl_line(address: str, token: str) -> str:
    """One line for bash that opens a conversation, asks a question and shows the answer as it streams."""
    headers = """-H "Authorization: Bearer $T" -H 'Content-Type: application/json'"""
    first_id = """grep -o '"id": *"[^"]*"' | head -n 1 | cut -d '"' -f 4"""
    return (
        f"T='{token}'; ID=$(curl -sS {headers} -d '{{}}' {address}/api/conversations | {first_id}) && "
        f'curl -sS -N {headers} -d \'{{"content":"Hello! Who are you?","max_tokens":60}}\' '
        f'"{address}/api/conversations/$ID/messages"'
    )


def welcome(address: str, token: str, database: str, data_dir: str) -> str:
    """The text with the addresses of page and database, a token and the curl line."""
    curl = curl_line(address, token)
    return _WELCOME.format(address=address, token=token, database=database, curl=curl, data_dir=data_dir)
