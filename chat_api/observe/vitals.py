"""The process's own vital signs: memory, descriptors, processor time, and how late its event loop is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

from prometheus_client import Counter, Gauge

from chat_api.background import Background
from chat_api.observe.metrics import Metrics

SAMPLE_SECONDS = 0.25  # a loop that is blocked for so long is always caught at it
LOOK_EVERY = 20  # samples
PROC = Path("/proc/self")


class Vitals(Background):
    """Measures while the application lives. The figures bear the names that all Prometheus clients give them.

    prometheus_client's own would be those of whichever worker is asked. These are told for each worker, by
    the label `pid`, which is its number among the workers. Without /proc (macOS) memory and descriptors are
    left out.
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
        self._counted = 0.0
        self._started.set(time.time())

    def open(self) -> None:
        """Look at once, or whoever asks before the first sample would read zeros, and go on."""
        self.look()
        super().open()

    def look(self) -> None:
        """Measure the process, and have the figures noted that others are asked for."""
        self._metrics.look()
        spent = time.process_time()
        self._cpu.inc(spent - self._counted)
        self._counted = spent
        with contextlib.suppress(OSError):  # no /proc, or no descriptor left to look with
            pages = int((PROC / "statm").read_text().split()[1])
            self._memory.set(pages * os.sysconf("SC_PAGE_SIZE"))
            self._open.set(len(os.listdir(PROC / "fd")))  # noqa: PTH208 - a Path for each would be wasted
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

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._metrics.registry, multiprocess_mode="liveall")


def _limit() -> int:
    """How many descriptors the process may open; 0: without limit."""
    for line in (PROC / "limits").read_text().splitlines():
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return int(soft) if soft.isdigit() else 0
    return 0
