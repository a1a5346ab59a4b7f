"""The texts that belong to more than one operation, in Markdown."""

from __future__ import annotations

INFO = """\
A conversation holds messages. A model answers a message word by word, and the answer is stored.

- **Streams** are server-sent events. `done` in a stream means that the answer is stored. Disconnecting
  doesn't stop an answer: attach again with the last event's id, on any worker, and you get every later event
  once, in order.
- **Retry safely**: with an `Idempotency-Key`, a message that is sent again within 24 hours is stored once and
  gets the same answer.
- **The WebSocket**, `GET /api/ws`, carries the same events for all of a user's conversations. Its frames
  are described in [asyncapi.json](asyncapi.json).
- **Errors** are `{"detail": …, "code": …}` with a code that never changes; with 422, `detail` lists each
  field. After a 503 or 429, try again after `Retry-After` seconds. An unknown path gets 401 (`unauthorized`)
  without a token and 404 (`not_found`) with one. A method that a path doesn't support gets 405
  (`method_not_allowed`) with `Allow`. A request line or header that is too large gets 431
  (`headers_too_large`), and anything but HTTP 400 (`not_http`).
- Times are ISO 8601 with an offset, and ids are lower-case UUIDs. Unknown fields in requests are ignored, and
  responses may get new fields. Another user's conversation is treated like one that doesn't exist.
"""

BEARER = """\
The user's token, of the auth service or the identity provider, or an API key (`sck_…`):
`Authorization: Bearer <token>`. A key has scopes: `read` for GET requests, `chat` for others, `admin` for
what administrators may. Where the operator has a proxy sign users in, its requests need no token. A stream
that began with a good token goes on to its answer's end. Where the operator wants it otherwise
(`EXPIRED_STREAMS=cut`), it ends without `done` before its token expires, with an `error` event
(`invalid_token`) without an id: attach again with a new token."""

TICKET = """\
A ticket of `POST /api/tickets`, for `EventSource`, which can't send a token. It counts once, within 30
seconds."""

TAGS = {
    "Conversations": "Create, list, read, change, fork and delete the caller's own.",
    "Messages": "Ask, edit, ask again, go on, take back.",
    "Streams": "Attach to an answer that is being written, or stop it.",
    "WebSocket": "All of a user's conversations over one connection.",
    "Models": "Which models there are, and which one answers.",
    "OpenAI's API": "The same conversations and answers for programs that speak OpenAI's Responses API.",
    "Usage": "What was used, and what is left of budgets.",
    "Administration": "For administrators.",
    "Operations": "For those who run the service.",
    "Description": "This description.",
}

OPENAI_EVENTS = """\
Server-sent events of OpenAI's Responses API, from `response.created` to `response.completed`,
`response.incomplete` (also of a response that was cancelled) or `response.failed`. Send the last
`sequence_number` as `starting_after` to continue after it.

```
event: response.output_text.delta
data: {"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_…","output_index":0,…}
```
"""

EVENT = """\
One server-sent event: an `id:` line, a `data:` line, an empty line. Comments (`: ping`) between events keep
connections open. There are no `event:` names, so `EventSource.onmessage` gets every event. The model server's
own, such as `{"status":"searching"}`, come between the others: pass over events that you don't know.

```
id: 01a2f3c4-9aab-7bcd-8ef0-112233445566:0
data: {"generation_id":"…","conversation_id":"…","user_message_id":"…"}

id: 01a2f3c4-9aab-7bcd-8ef0-112233445566:1
data: {"token":"Boil","gpu":0}

id: 01a2f3c4-9aab-7bcd-8ef0-112233445566:57
data: {"done":true,"message_id":"…","finish_reason":"stop","token_count":56,"inference_time_ms":812,…}
```
"""

SOCKET = """\
One connection for all of a user's conversations; the rest of the API is in [openapi.json](openapi.json).

Frames are JSON text. Each command has a `ref`, a string or number of the client's choice, that comes back
with its answer: `ack`, or `error` if it is refused, which leaves the socket open. Limits count messages over
HTTP and the WebSocket together; a refusal by a limit has the `status` 429 and `retry_after`. A `send`,
`regenerate`, `continue` or `tool_results` also subscribes to its conversation: the events of its answer
arrive without a further command, and so do those of any later answer that another tab begins. Any other
change of the conversation is told by a frame `changed`. After a break, `subscribe` with `after`,
`<generation_id>:<seq>` of the last event, continues without a gap or a duplicate."""

SOCKET_CHANNEL = """\
A program authenticates with the header `Authorization: Bearer <token>`. A browser does so with the frame
`auth`, its first one, within ten seconds. Both send `auth` again before the token expires. Never put a token
in the URL.

| Close code | Why | What the client does |
|---|---|---|
| 1001 | the worker is being restarted | connects again after a random second or two |
| 1008 | the page's `Origin` is not allowed | |
| 1009 | a message is too large | |
| 1011 | the service failed, and logged why | connects again |
| 1013 | the client reads too slowly | connects again and continues with `after` |
| 4401 | not authenticated, or the token is refused, expired or another user's | signs in again |
| 4408 | no token within ten seconds, or a message that took too long to arrive | connects again |
"""
