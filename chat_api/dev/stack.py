"""`chat-api dev`: PostgreSQL, a local model, a development auth service and the server, in one command."""

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from chat_api.dev.errors import DevError
from chat_api.dev.folder import held
from chat_api.dev.model.detect import Protocol, detect
from chat_api.dev.model.fetch import cache_folder, fetch_model
from chat_api.dev.model.server import ModelServer
from chat_api.dev.parts import (
    DATABASE,
    require_extra,
    require_port,
    require_system_libraries,
    start_database,
    start_postgres,
    task_group,
)
from chat_api.dev.postgres.server import Postgres
from chat_api.dev.settings import DevSettings, chosen_settings, dev_settings
from chat_api.dev.sign_in import sign_in
from chat_api.dev.supervise import keep_alive
from chat_api.dev.welcome import welcome
from chat_api.observe.logs import configure_logging
from chat_api.postgres.session import SessionError
from chat_api.serving.server import ServeError, serve


@dataclass(frozen=True)
class DevOptions:
    """The options of `chat-api dev`."""

    port: int = 8002
    data_dir: Path = Path(".chat-api")
    inference_url: str | None = None
    reset: bool = False


async def run(options: DevOptions) -> int:
    """Run the development stack until SIGINT, SIGTERM or SIGHUP. Returns its exit status.

    A failure is reported in one sentence on stderr, and the status is 1. Few settings are taken from the
    environment, and the others are named in the output (`chosen_settings`). Raises SettingsError if one of
    those few can't be used.
    """
    chosen, ignored = chosen_settings(local=options.inference_url is None)
    if ignored:
        _say(ignored)
    stack = _Stack(options, chosen)
    running = asyncio.create_task(stack.run(), name="development stack")
    loop = asyncio.get_running_loop()
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # ignored under nohup
        signals.append(signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, stack.end, running)
    try:
        await running
    except asyncio.CancelledError:
        if not stack.ending.is_set():
            raise
    except (DevError, SessionError, ServeError) as error:
        sys.stderr.write(f"chat-api dev: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"chat-api dev: {error}; fix that, or choose another --data-dir\n")
        return 1
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
    return 0


class _Stack:
    def __init__(self, options: DevOptions, chosen: DevSettings) -> None:
        self._options = options
        self._chosen = chosen
        self._folder = options.data_dir.absolute()
        self._address = f"http://127.0.0.1:{options.port}{chosen.base_path}"
        self._parts = contextlib.AsyncExitStack()
        self._serving = False
        self.ending = asyncio.Event()

    def end(self, running: asyncio.Task[None]) -> None:
        """End in order. On a second signal, or while the stack is still starting, end at once."""
        if not self._serving or self.ending.is_set():
            running.cancel()
        self.ending.set()

    async def run(self) -> None:
        local = self._options.inference_url is None
        require_extra(local_model=local)
        for name in [name for name in os.environ if name.startswith("PG")]:
            del os.environ[name]  # libpq's: they would affect every connection that is made here
        async with self._parts:
            self._parts.enter_context(held(self._folder, self._address))
            require_port(self._options.port)
            if local:
                require_system_libraries()
            postgres = await self._postgres()
            async with task_group() as group:
                group.create_task(start_database(postgres, _say), name="database")
                model = group.create_task(self._model(), name="model")
            await self._serve(postgres, *model.result())

    async def _postgres(self) -> Postgres:
        postgres = Postgres(self._folder / "postgres")
        if self._options.reset:
            _say(f"Deleting the data in {self._folder}")
            await asyncio.to_thread(postgres.erase)
            for name in ("auth.json", "model.log"):
                (self._folder / name).unlink(missing_ok=True)
        self._parts.push_async_callback(asyncio.to_thread, postgres.stop)
        return postgres

    async def _model(self) -> tuple[tuple[str, Protocol], ModelServer | None]:
        if self._options.inference_url is not None:
            return await detect(self._options.inference_url), None
        gguf = await fetch_model(cache_folder(), _say)
        server = ModelServer(gguf, self._folder / "model.log")
        self._parts.push_async_callback(server.stop)
        _say("Starting the local model")
        return (await server.start(), "openai"), server

    async def _serve(
        self, postgres: Postgres, model: tuple[str, Protocol], server: ModelServer | None
    ) -> None:
        from chat_api.dev.auth import DevAuth  # noqa: PLC0415 - needs the extra, checked above

        key = self._chosen.internal_api_key.get_secret_value() or secrets.token_urlsafe(24)
        auth = DevAuth(self._folder, key)
        self._parts.push_async_callback(auth.stop)
        settings = dev_settings(
            self._chosen,
            port=self._options.port,
            database_url=postgres.dsn(DATABASE),
            auth_url=await auth.start(),
            key=key,
            model=model,
            local=server is not None,
        )
        configure_logging(settings)
        async with task_group() as group:
            watches = [
                keep_alive(
                    "PostgreSQL",
                    lambda: asyncio.to_thread(postgres.wait),
                    lambda: start_postgres(postgres),
                    _say,
                )
            ]
            if server is not None:
                watches.append(keep_alive("The local model", server.wait, server.start, _say))
            tasks = [group.create_task(watch, name="keep alive") for watch in watches]
            self._serving = True
            await serve(
                settings,
                host="127.0.0.1",
                port=self._options.port,
                ready=lambda: _say(
                    welcome(
                        self._address, auth.token(), auth.user_id, postgres.dsn(DATABASE), str(self._folder)
                    )
                ),
                stop=self.ending,
                more=[sign_in(auth.token)],
            )
            for task in tasks:
                task.cancel()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
