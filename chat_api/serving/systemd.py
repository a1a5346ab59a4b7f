"""Notifications to systemd, if it asks for them: `Type=notify`, `Type=notify-reload`, `WatchdogSec`."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

log = structlog.get_logger(__name__)


def notify(state: str) -> None:
    """Send a state such as READY=1, as sd_notify(3) does. Does nothing if NOTIFY_SOCKET isn't set."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(state.encode(), address)
    except OSError as error:
        log.warning("systemd_not_told", state=state, reason=str(error))


@asynccontextmanager
async def watchdog() -> AsyncIterator[None]:
    """Report twice per WatchdogSec= that the event loop is alive. Does nothing unless systemd asks for it."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    asked = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    if not (asked and microseconds.isdigit()):
        yield
        return
    feeding = asyncio.create_task(_feed(int(microseconds) / 2_000_000), name="watchdog")
    try:
        yield
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def _feed(every: float) -> None:
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(every)


def notify_reloading() -> None:
    """Report that a reload begins, which READY=1 ends. Type=notify-reload requires the time."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
