"""`serve --workers N`: worker processes that share one address, and are restarted when they die."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path

import structlog
from prometheus_client.multiprocess import mark_process_dead

from chat_api.observe.metrics import FOLDER
from chat_api.serving.deadline import KILL_SECONDS, STOP_SECONDS, Deadline
from chat_api.serving.listeners import Place, ServeError, places
from chat_api.serving.schema_guard import SchemaGuard
from chat_api.serving.signals import is_terminal, signalled
from chat_api.serving.systemd import notify, notify_reloading, watchdog
from chat_api.serving.worker_process import FIRST, WorkerProcess

log = structlog.get_logger(__name__)

START_SECONDS = 60  # a worker that takes longer hangs
FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0  # seconds before a dead worker is replaced
STEADY_SECONDS = 60  # after a worker that lived this long, the first delay applies again
FAILED, MISUSED = 1, 2  # a worker's exit status is that of `chat-api serve`


def supervise(
    count: int,
    drain_seconds: float,
    *,
    host: str,
    port: int,
    unix_socket: Path | None,
    guard: SchemaGuard | None = None,
) -> int:
    """Keep `count` workers running on an address until SIGTERM or SIGINT. Returns the exit status.

    Raises ServeError; with a `guard`, also if the database is newer than this release.
    """
    with ExitStack() as stack:
        found = stack.enter_context(places(count, host, port, unix_socket))
        try:
            metrics = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="chat-api-", ignore_cleanup_errors=True)
            )
        except OSError as error:
            raise ServeError(
                f"{error.strerror}: set TMPDIR to a folder that can hold the workers' metrics"
            ) from error
        return asyncio.run(Supervisor(found, drain_seconds, metrics, guard).run())


class Supervisor:
    """Starts workers, restarts them when they die, replaces them one by one, and ends them."""

    def __init__(
        self, places: list[Place], drain_seconds: float, metrics: str, guard: SchemaGuard | None
    ) -> None:
        self._places = places
        self._guard = guard
        self._patience = drain_seconds + KILL_SECONDS
        self._may_take = drain_seconds + STOP_SECONDS
        self._metrics = metrics
        self._workers: dict[Place, WorkerProcess] = {}
        self._living: set[WorkerProcess] = set()  # including those that were replaced and are ending
        self._changing = asyncio.Lock()
        self._rolling: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Run until a signal, or until the first workers fail to start. Returns the exit status.

        Raises ServeError.
        """
        if self._guard is not None:
            await self._guard.check()
        async with watchdog():
            return await self._run()

    async def _run(self) -> int:
        signals = signalled(Deadline(self._may_take), self._kill)
        working = asyncio.create_task(self._work(), name="supervise")
        ending = asyncio.create_task(
            signals if self._guard is None else self._guard.watch_until(signals), name="ending"
        )
        try:
            await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
            notify("STOPPING=1")
            if working.done():
                return working.result()
            await ending
            return 0
        finally:
            tasks = [task for task in (working, self._rolling) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._end()
            ending.cancel()

    async def _work(self) -> int:
        if not is_terminal():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        async with self._changing:
            workers = [self._start(place) for place in self._places]
            serve = await asyncio.gather(*(worker.serves(START_SECONDS) for worker in workers))
        statuses = [await worker.end() for worker, serves in zip(workers, serve, strict=True) if not serves]
        if statuses:  # a later worker that fails is tried again, because then there are others
            log.error("workers_failed", exit_statuses=statuses)
            return MISUSED if MISUSED in statuses else FAILED
        log.info("serving", workers=len(workers))
        notify("READY=1")
        async with asyncio.TaskGroup() as group:
            for place, worker in zip(self._places, workers, strict=True):
                group.create_task(self._keep(place, worker), name="keep-worker")
        return FAILED

    async def _keep(self, place: Place, worker: WorkerProcess) -> None:
        """Start a new worker whenever the one in this place dies."""
        delay = FIRST_DELAY
        while True:
            status = await worker.end()
            async with self._changing:
                replaced = self._workers[place] is not worker
            if not replaced:
                if worker.age > STEADY_SECONDS:
                    delay = FIRST_DELAY
                if status == MISUSED:  # a person has to correct the settings
                    delay = LONGEST_DELAY
                log.error("worker_died", pid=worker.pid, exit_status=status, restart_in_seconds=delay)
                if delay > FIRST_DELAY:  # not the first death: connections shouldn't wait for the successor
                    place.close()
                await asyncio.sleep(delay)
                delay = min(delay * 2, LONGEST_DELAY)
            async with self._changing:
                if self._workers[place] is worker:
                    try:
                        await self._start(place).serves(START_SECONDS)
                    except (ServeError, OSError) as error:
                        log.error("worker_not_started", reason=str(error))
                worker = self._workers[place]

    def _reload(self) -> None:
        if self._rolling is None or self._rolling.done():
            self._rolling = asyncio.create_task(self._roll(), name="rolling-restart")

    async def _roll(self) -> None:
        """Replace the workers one by one. Each keeps serving until its successor serves."""
        notify_reloading()
        log.info("restarting", workers=len(self._places))
        for place in self._places:
            async with self._changing:
                old = self._workers[place]
                try:
                    worker = self._start(place, is_first=place is self._places[0])
                    served = await worker.serves(START_SECONDS)
                except (ServeError, OSError) as error:
                    log.error("worker_not_started", reason=str(error))
                    served = False
                if not served:
                    self._workers[place] = old
                    log.error("restart_given_up", reason="the new worker doesn't serve; the others continue")
                    break
            old.retire()
            await self._wait_for_end({old})
        else:
            log.info("restarted", workers=len(self._places))
        notify("READY=1")

    def _start(self, place: Place, *, is_first: bool = False) -> WorkerProcess:
        """Start a new worker in a place. The first one checks the queries. Raises ServeError, OSError."""
        place.open()
        taken = {worker.number for worker in self._living}
        worker = WorkerProcess(
            next(number for number in itertools.count() if number not in taken),
            place.listeners,
            {**os.environ, FOLDER: self._metrics, **({FIRST: "1"} if is_first else {})},
        )
        self._living.add(worker)
        worker.watching.add_done_callback(lambda _: self._forget(worker))
        self._workers[place] = worker
        return worker

    def _forget(self, worker: WorkerProcess) -> None:
        self._living.discard(worker)
        mark_process_dead(worker.number, self._metrics)  # type: ignore[no-untyped-call]

    async def _end(self) -> None:
        for worker in self._living:
            worker.drain()
        await self._wait_for_end(set(self._living))

    async def _wait_for_end(self, workers: set[WorkerProcess]) -> None:
        """Wait until the workers have ended. Those that take too long are killed."""
        if not workers:
            return
        _, late = await asyncio.wait({worker.watching for worker in workers}, timeout=self._patience)
        if late:
            for worker in [worker for worker in workers if worker.watching in late]:
                log.error("worker_killed", pid=worker.pid, reason="it took too long to end")
                worker.kill()
            await asyncio.wait(late)

    def _kill(self) -> None:
        for worker in self._living:
            worker.kill()
        shutil.rmtree(self._metrics, ignore_errors=True)
