"""What the developer reads when everything runs."""

_WELCOME = """
The chat API is ready.

  page   {page}/#token={token}
  token  {token}

Ask it something, in another terminal:

{curl}

Ctrl-C ends it. The data stays in {data_dir}
"""


def curl_line(page: str, token: str) -> str:
    """One line for bash that opens a conversation, asks a question and shows the answer as it streams."""
    headers = """-H "Authorization: Bearer $T" -H 'Content-Type: application/json'"""
    first_id = """grep -o '"id": *"[^"]*"' | head -n 1 | cut -d '"' -f 4"""
    return (
        f"T='{token}'; ID=$(curl -sS {headers} -d '{{}}' {page}/api/conversations | {first_id}) && "
        f'curl -sS -N {headers} -d \'{{"content":"Hello! Who are you?","max_tokens":60}}\' '
        f'"{page}/api/conversations/$ID/messages"'
    )


def welcome(page: str, token: str, data_dir: str) -> str:
    """The text with the page's address, a token and the curl line.

    The token stands in the fragment of the page's address: a browser shows it to the page and sends it
    nowhere.
    """
    return _WELCOME.format(page=page, token=token, curl=curl_line(page, token), data_dir=data_dir)
