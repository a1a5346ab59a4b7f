"""One worker of `serve --workers`. The supervisor starts it as a program of its own:

    python -m chat_api.serving.worker NUMBER LIFELINE LISTENER…

Its metrics files are named after NUMBER. The other arguments are inherited descriptors. With the variable
FIRST, it checks the queries first. The worker writes READY to the lifeline once it serves. It ends when it
reads DRAIN there, on SIGTERM, or when the lifeline breaks because its supervisor is dead.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

from chat_api.libraries.prometheus import name_files_by
from chat_api.observe.logs import configure_logging
from chat_api.serving.deadline import END_SECONDS, Deadline
from chat_api.serving.listeners import ServeError
from chat_api.serving.schema_guard import SchemaGuard
from chat_api.serving.server import Ending, run, serve_on
from chat_api.serving.worker_process import DRAIN, FIRST, READY
from chat_api.settings import Settings, SettingsError, load_settings
from chat_api.settings.models import load_catalogue


async def work(settings: Settings, lifeline: socket.socket, listeners: list[socket.socket]) -> None:
    """Serve on inherited listeners until it is time to end. Raises SettingsError, ServeError."""
    if FIRST in os.environ:
        await SchemaGuard(settings, allows_newer=True).check()
    await serve_on(listeners, settings, lambda: lifeline.sendall(READY), lambda: _ending(lifeline, settings))


async def _ending(lifeline: socket.socket, settings: Settings) -> Ending:
    loop = asyncio.get_running_loop()
    deadline = Deadline(settings.drain_seconds + END_SECONDS)
    ended: asyncio.Future[Ending] = loop.create_future()

    def end(how: Ending) -> None:
        if not ended.done():
            ended.set_result(how)
            deadline.start()

    def read() -> None:
        loop.remove_reader(lifeline)
        # Without its supervisor, free the sockets for the next one.
        end(Ending.DRAIN if lifeline.recv(1) == DRAIN else Ending.RETIRE)

    loop.add_reader(lifeline, read)
    loop.add_signal_handler(signal.SIGTERM, end, Ending.RETIRE)
    return await ended


def main(number: str, *descriptors: str) -> int:
    """Run a worker. Returns an exit status of `chat-api serve`."""
    try:
        settings = load_settings()
        load_catalogue(settings)
        configure_logging(settings)
        name_files_by(number)
        lifeline, *listeners = (socket.socket(fileno=int(descriptor)) for descriptor in descriptors)
        with lifeline:
            run(work(settings, lifeline, listeners))
    except (SettingsError, ServeError) as error:  # among them a query that doesn't fit the database
        sys.stderr.writelines(f"chat-api: {line}\n" for line in str(error).splitlines())
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
