"""The sentences that stand for more than one operation, in Markdown."""

from __future__ import annotations

INFO = """\
A conversation holds messages; a message is answered by a model, word by word, and the answer is stored.

- **Streams** are server-sent events. `done` in a stream means that the answer is stored. Who leaves stops
  nothing: attach again with the last event's id, on any worker, and see every later event once, in order.
- **Retry safely**: with `Idempotency-Key`, a message that is sent again is stored once and gets the same
  answer.
- **The WebSocket**, `GET /api/ws`, carries the same events for all of a user's conversations. Its frames
  are described in [asyncapi.json](asyncapi.json).
- **Errors** are `{"detail": …, "code": …}` with a code that stays the same; with 422, `detail` lists each
  field. A 503 or 429 may be tried again after `Retry-After` seconds. At another address there is nothing:
  without a token 401 (`unauthorized`), with one 404 (`not_found`). Another method gets 405
  (`method_not_allowed`) and `Allow`; a request line or header that is too large 431 (`headers_too_large`),
  and what is no HTTP request 400 (`not_http`).
- Times are ISO 8601 with an offset, ids lower-case UUIDs. Fields that the service doesn't know are ignored,
  and it may add fields to its answers. Somebody else's conversation is answered like one that doesn't
  exist.
"""

BEARER = """\
The user's token, which the auth service checks: `Authorization: Bearer <token>`. A stream ends, without
`done`, by the time its token does: attach again with a new one."""

TAGS = {
    "Conversations": "Create, list, read, rename, star and delete the caller's own.",
    "Messages": "Ask, and ask again.",
    "Streams": "Attach to an answer that is being written, or stop it.",
    "WebSocket": "All of a user's conversations over one connection.",
    "Models": "Which models there are, and which one answers.",
    "Operations": "For whoever runs the service.",
    "Description": "What you are reading.",
}

EVENT = """\
One server-sent event: an `id:` line, a `data:` line, an empty line. Comments (`: ping`) come between
events, so that connections stay open. There are no `event:` names: `EventSource.onmessage` sees everything.

```
id: 01a2f3c4-9aab-7bcd-8ef0-112233445566:0
data: {"generation_id":"…","conversation_id":"…","user_message_id":"…"}

id: 01a2f3c4-9aab-7bcd-8ef0-112233445566:1
data: {"token":"Boil","gpu":0}

id: 01a2f3c4-9aab-7bcd-8ef0-112233445566:57
data: {"done":true,"message_id":"…","finish_reason":"stop","token_count":56,"inference_time_ms":812}
```
"""

SOCKET = """\
One connection for all of a user's conversations; the rest of the API is in [openapi.json](openapi.json).

Frames are JSON text. Each command has a `ref`, a string or number of the client's choice, that comes back
with its answer: `ack`, or `error` if it is refused, which leaves the socket open. Limits count messages
however they are sent; a refusal by one has the `status` 429 and `retry_after`. A `send` or `regenerate`
follows its conversation too: its answer's events come by themselves, and those of any later answer that
another tab begins. After a break, `subscribe` with `after`, `<generation_id>:<seq>` of the last event,
continues without a gap or a double."""

SOCKET_CHANNEL = """\
A program authenticates with the header `Authorization: Bearer <token>`, a browser with the frame `auth`,
first and within ten seconds, and again before the token expires. Never put a token in the URL.

| Close code | Why | What the client does |
|---|---|---|
| 1001 | the worker is being restarted | connects again after a random second or two |
| 1008 | the page's `Origin` is not allowed | |
| 1009 | a message is too large | |
| 1011 | a failure of the service, logged there | connects again |
| 1013 | the client reads too slowly | connects again and continues with `after` |
| 4401 | not authenticated, the token is refused or another user's, or it has expired | signs in again |
| 4408 | no token within ten seconds | |
"""
