"""The sockets that the server listens on."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

BACKLOG = 1024
# Linux deals connections out among the sockets that share a port. Elsewhere the last one gets them all.
SHARES_PORTS = sys.platform == "linux"

Bind = Callable[[], contextlib.AbstractContextManager[list[socket.socket]]]


class ServeError(Exception):
    """The server can't start; the text says why and what to do."""


@contextlib.contextmanager
def on_port(host: str, port: int, *, shared: bool = False) -> Iterator[list[socket.socket]]:
    """Sockets that listen on every address of a host, usually one; `shared`: beside others on this port.

    Raises ServeError.
    """
    with contextlib.ExitStack() as stack:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            listeners = [
                listener
                for family, _, _, _, address in found
                if (listener := _open(stack, family, address, shared)) is not None
            ]
            if not listeners:
                raise OSError(errno.EADDRNOTAVAIL, "no such address on this machine")  # noqa: TRY301
        except OSError as error:
            raise ServeError(
                f"can't listen on {host} port {port}: {error.strerror}; choose another with --host and --port"
            ) from error
        yield listeners


def _open(
    stack: contextlib.ExitStack, family: int, address: tuple[object, ...], shared: bool
) -> socket.socket | None:
    """None where the machine has no such addresses, as IPv6's in many a container."""
    listener = stack.enter_context(socket.socket(family))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return None
        raise
    listener.listen(BACKLOG)
    return listener


@contextlib.contextmanager
def on_path(path: Path) -> Iterator[list[socket.socket]]:
    """A unix socket that a web server of another user may use; a left-over of a dead server is replaced.

    Raises ServeError.
    """
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise ServeError(f"another server listens on {path}")
        path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(str(path))
            # Connecting wants write permission. Who may is said by the folder, and each request shows its
            # token.
            path.chmod(0o666)
            listener.listen(BACKLOG)
        except OSError as error:
            raise ServeError(f"can't make the socket {path}: {error.strerror or error}") from error
        try:
            yield [listener]
        finally:
            path.unlink(missing_ok=True)


class Place:
    """What a worker leaves to its successor: its listeners, with the connections that wait in them.

    They stay open in the supervisor, so that no connection is lost when a worker dies.
    """

    def __init__(self, bind: Bind) -> None:
        self.listeners: list[socket.socket] = []
        self._bind = bind
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Place:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Listen. Raises ServeError."""
        if not self.listeners:
            self.listeners = self._stack.enter_context(self._bind())

    def close(self) -> None:
        """Send those who come to the other places."""
        self.listeners = []
        self._stack.close()


@contextlib.contextmanager
def places(count: int, host: str, port: int, unix_socket: Path | None) -> Iterator[list[Place]]:
    """As many places at one address. Raises ServeError.

    Sockets of their own share the port where the system deals connections out among them: of 100 streams
    that came at once, two workers on one socket got 1 and 99, on two sockets 47 and 53.
    """
    with contextlib.ExitStack() as stack:
        if unix_socket is None and SHARES_PORTS:
            with on_port(host, port):  # a server that shares its port isn't noticed otherwise
                pass
            binds: list[Bind] = [lambda: on_port(host, port, shared=True)] * count
        else:
            one = stack.enter_context(on_port(host, port) if unix_socket is None else on_path(unix_socket))
            binds = [lambda: contextlib.nullcontext(one)] * count
        yield [stack.enter_context(Place(bind)) for bind in binds]
