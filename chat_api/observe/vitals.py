"""The process's own metrics: memory, descriptors, processor time, and how late its event loop is."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from pathlib import Path

import structlog
from prometheus_client import Counter, Gauge

from chat_api.background import Background
from chat_api.errors import describe
from chat_api.observe.lines import current_lines
from chat_api.observe.metrics import Metrics

log = structlog.get_logger(__name__)

SAMPLE_SECONDS = 0.25  # a loop that is blocked for this long is always noticed
LOOK_EVERY = 20  # samples
EXHAUSTED_SECONDS = 60  # between two lines about descriptors
PROC = Path("/proc/self")


class Vitals(Background):
    """Measures the process while the application runs. The metrics have the names that are usual for them.

    prometheus_client's own would be those of the worker that is scraped. These are exported for each worker,
    under the label `pid`, which is the worker's number. Without /proc (macOS), memory and descriptors are
    missing.
    """

    def __init__(self, metrics: Metrics) -> None:
        super().__init__("vitals")
        self._metrics = metrics
        self._memory = self._gauge("process_resident_memory_bytes", "Resident memory of the process.")
        self._open = self._gauge("process_open_fds", "Open file descriptors.")
        self._limit = self._gauge("process_max_fds", "File descriptors that the process may open.")
        self._started = self._gauge(
            "process_start_time_seconds", "When the process started, in Unix seconds."
        )
        self._cpu = Counter(
            "process_cpu_seconds", "Processor time, of all workers.", registry=metrics.registry
        )
        self._lines_dropped = Counter(
            "chat_log_lines_dropped",
            "Log lines that stderr didn't take: nobody read it, or it was broken or full.",
            registry=metrics.registry,
        )
        self._counted = 0.0
        self._dropped = 0
        self._exhausted_again = 0.0
        self._started.set(time.time())

    def open(self) -> None:
        """Start measuring, at once: otherwise a scrape before the first sample would read zeros."""
        self.look()
        super().open()

    def look(self) -> None:
        """Measure the process, and update the gauges of Metrics."""
        self._metrics.look()
        spent = time.process_time()
        self._cpu.inc(spent - self._counted)
        self._counted = spent
        if (lines := current_lines()) is not None:
            dropped = lines.dropped
            self._lines_dropped.inc(dropped - self._dropped)
            self._dropped = dropped
        with contextlib.suppress(OSError):  # no /proc, or no descriptor left to look with
            pages = int((PROC / "statm").read_text().split()[1])
            self._memory.set(pages * os.sysconf("SC_PAGE_SIZE"))
            self._open.set(len(os.listdir(PROC / "fd")))  # noqa: PTH208 - no need for a Path for each
            self._limit.set(_limit())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        samples = 0
        while True:
            samples += 1
            if samples % LOOK_EVERY == 0:
                self.look()
            due = loop.time() + SAMPLE_SECONDS
            await asyncio.sleep(SAMPLE_SECONDS)
            self._metrics.loop_lag.observe(max(0.0, loop.time() - due))
            self._check_descriptors(loop.time())

    def _check_descriptors(self, now: float) -> None:
        """Log that no descriptor is left, once a minute. uvloop, which then closes who connects, doesn't."""
        if now < self._exhausted_again:
            return
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                return
            self._exhausted_again = now + EXHAUSTED_SECONDS
            log.error(
                "descriptors_exhausted",
                reason=describe(error),
                do="raise LimitNOFILE= or ulimit -n; until then new connections are refused",
            )

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._metrics.registry, multiprocess_mode="liveall")


def _limit() -> int:
    """How many descriptors the process may open; 0: no limit."""
    for line in (PROC / "limits").read_text().splitlines():
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return int(soft) if soft.isdigit() else 0
    return 0
