"""Log lines, written to stderr without ever waiting for its reader."""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import io
import os
import socket
import stat
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import TextIO

import structlog

log = structlog.get_logger(__name__)

MAX_WAITING_BYTES = 1_048_576  # some 3,000 lines
FLUSH_SECONDS = 2.0


class Lines:
    """Writes each line at once if stderr takes it, so that a worker that is killed has said what it knew.

    If stderr takes none just now, as a pipe that nobody reads, lines wait in order for a thread that writes
    them. When a megabyte waits, more lines are dropped and counted, and so are lines that stderr refuses (a
    broken pipe, a full disk). A later line says how many. May be called from any thread.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._reported = 0
        self._stream: TextIO | None = None
        self._write_now: Callable[[bytes], int] = _write_nothing
        # Reentrant, because the garbage collector may run in here, and what it destroys may log.
        self._changed = threading.Condition(threading.RLock())
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._thread: threading.Thread | None = None
        atexit.register(self.flush)

    def write(self, line: str) -> None:
        """Write a line, now or later. Returns at once, and raises nothing."""
        data = f"{line}\n".encode(errors="backslashreplace")
        with self._changed:
            if sys.stderr is not self._stream:
                self._stream = sys.stderr
                self._write_now = _writer(self._stream)
            if not self._waiting:
                try:
                    data = data[self._write_now(data) :]
                except (OSError, ValueError):  # it is broken, full or closed
                    self.dropped += 1
                    return
            if data:
                self._keep(data)
            elif self.dropped > self._reported:
                self._report()

    def flush(self, seconds: float = FLUSH_SECONDS) -> None:
        """Wait until all lines are written, but no longer than this."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, seconds)

    def _keep(self, data: bytes) -> None:
        if self._waiting_bytes + len(data) > MAX_WAITING_BYTES:
            self.dropped += 1
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_waiting, name="log-lines", daemon=True)
            self._thread.start()

    def _write_waiting(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                data, stream = self._waiting[0], self._stream
            try:
                _write_all(stream, data)
                refused = 0
            except (OSError, ValueError):
                refused = 1
            with self._changed:
                # Only now, so that no other line gets ahead of it.
                self._waiting.popleft()
                self._waiting_bytes -= len(data)
                self.dropped += refused
                if not self._waiting:
                    if not refused and self.dropped > self._reported:
                        self._report()
                    self._changed.notify_all()

    def _report(self) -> None:
        lines, self._reported = self.dropped - self._reported, self.dropped
        # In a context of its own: this isn't about the request that is being answered.
        contextvars.Context().run(_report_dropped, lines)


class Logger:
    """Writes each of structlog's events as a line."""

    def __init__(self, name: str, lines: Lines) -> None:
        self.name = name  # for add_logger_name
        self.msg = lines.write
        self.debug = self.info = self.warning = self.error = self.critical = self.exception = lines.write


class LoggerFactory:
    """Makes structlog's loggers; `lines` is where they write."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines

    def __call__(self, name: str) -> Logger:
        """Make the logger of a module."""
        return Logger(name, self.lines)


def current_lines() -> Lines | None:
    """The lines that `configure_logging` has set up; None if the log is somebody else's."""
    factory = structlog.get_config()["logger_factory"]
    return factory.lines if isinstance(factory, LoggerFactory) else None


def _report_dropped(lines: int) -> None:
    log.warning("log_lines_dropped", lines=lines)


def _writer(stream: TextIO | None) -> Callable[[bytes], int]:
    """What writes bytes to a stream without waiting, and returns how many it wrote."""
    if stream is None:
        return len
    try:
        descriptor = stream.fileno()
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            return lambda data: os.write(descriptor, data)
        return _to_socket(descriptor) if stat.S_ISSOCK(mode) else _to_pipe(descriptor)
    except io.UnsupportedOperation:  # it has no descriptor
        return lambda data: _write_text(stream, data)
    except (OSError, ValueError):  # it is closed, another user's, read by nobody, or no descriptor is left
        return _write_nothing


def _to_socket(descriptor: int) -> Callable[[bytes], int]:
    """Write to a socket, such as journald's."""
    connection = socket.socket(fileno=os.dup(descriptor))

    def write(data: bytes) -> int:
        with contextlib.suppress(BlockingIOError):
            return connection.send(data, socket.MSG_DONTWAIT)
        return 0

    return write


def _to_pipe(descriptor: int) -> Callable[[bytes], int]:
    """Write to a pipe or a terminal by a description of our own.

    O_NONBLOCK on the inherited one would be set for all processes that share it. Asking whether the pipe has
    room, and then writing, would wait for ever if another worker filled it in between.
    """
    if sys.platform != "linux":  # elsewhere this duplicates the inherited one
        return _write_nothing
    own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)

    def write(data: bytes) -> int:
        with contextlib.suppress(BlockingIOError):
            return os.write(own, data)
        return 0

    return write


def _write_nothing(_: bytes) -> int:
    return 0  # the thread will write it


def _write_text(stream: TextIO, data: bytes) -> int:
    stream.write(data.decode())
    stream.flush()
    return len(data)


def _write_all(stream: TextIO | None, data: bytes) -> None:
    assert stream is not None  # noqa: S101 - nothing waits for one that isn't there
    descriptor = stream.fileno()
    while data:
        data = data[os.write(descriptor, data) :]
