"""A model server and an auth service in one process, for load: `python -m tests.chaos.neighbours PORT RATE`.

The answer to "<word> <count>" is count tokens, "<word>0 ", "<word>1 " …, so that the client knows it.
"""

from __future__ import annotations

import asyncio
import sys

import orjson
from aiohttp import web


def answer(question: str) -> list[str]:
    """The tokens of the answer to a message."""
    word, count = question.split()
    return [f"{word}{number} " for number in range(int(count))]


async def generate(request: web.Request) -> web.StreamResponse:
    """Stream the answer to the last message at an even pace."""
    question = (await request.json())["messages"][-1]["content"].rpartition("\n\n")[2]
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    try:
        for token in answer(question):
            await response.write(b"data: %s\n\n" % orjson.dumps({"token": token}))
            await asyncio.sleep(1 / request.app[RATE])
        await response.write(b'data: {"done":true}\n\n')
    except ConnectionResetError:
        pass  # the worker that asked is dead
    return response


async def validate(request: web.Request) -> web.Response:
    """Accept every token as the id of its user."""
    user_id = (await request.json())["token"]
    return web.json_response({"valid": True, "user": {"id": user_id}, "claims": {}})


RATE = web.AppKey("rate", float)


def main(port: str, rate: str) -> None:
    """Serve on loopback until ended."""
    app = web.Application()
    app[RATE] = float(rate)
    app.router.add_post("/generate", generate)
    app.router.add_post("/auth/validate", validate)
    web.run_app(app, host="127.0.0.1", port=int(port), print=None, access_log=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
