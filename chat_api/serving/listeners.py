"""The sockets that the server listens on."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

BACKLOG = 1024
# Linux distributes connections among the sockets that share a port. Elsewhere the last socket gets them all.
SHARES_PORTS = sys.platform == "linux"

Bind = Callable[[], contextlib.AbstractContextManager[list[socket.socket]]]


class ServeError(Exception):
    """The server can't start. The text says why, and what to do."""


@contextlib.contextmanager
def on_port(host: str, port: int, *, shared: bool = False) -> Iterator[list[socket.socket]]:
    """Listen on every address of a host, usually one. With `shared`, other sockets may share the port.

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
    """Listen on one address. None if the machine lacks its family, as many containers lack IPv6."""
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
    """Listen on a unix socket that a web server of another user may use. A dead server's socket is replaced.

    Raises ServeError.
    """
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise ServeError(f"another server is listening on {path}")
        path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(str(path))
            # Connecting requires write permission. The folder decides who can connect, and each request is
            # checked by its token.
            path.chmod(0o666)
            listener.listen(BACKLOG)
        except OSError as error:
            raise ServeError(f"can't create the socket {path}: {error.strerror or error}") from error
        try:
            yield [listener]
        finally:
            path.unlink(missing_ok=True)


class Place:
    """A worker's listeners, which its successor inherits together with the connections that wait in them.

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
        """Open the listeners, unless they are open. Raises ServeError."""
        if not self.listeners:
            self.listeners = self._stack.enter_context(self._bind())

    def close(self) -> None:
        """Close the listeners, so that new connections go to the other places."""
        self.listeners = []
        self._stack.close()


@contextlib.contextmanager
def places(count: int, host: str, port: int, unix_socket: Path | None) -> Iterator[list[Place]]:
    """Open `count` places at one address. Raises ServeError.

    Where the system distributes connections among sockets that share a port, each place has a socket of its
    own. Of 100 streams that came at once, two workers got 1 and 99 on one socket, and 47 and 53 on two.
    """
    with contextlib.ExitStack() as stack:
        if unix_socket is None and SHARES_PORTS:
            with on_port(host, port):  # otherwise a server that shares its port would go unnoticed
                pass
            binds: list[Bind] = [lambda: on_port(host, port, shared=True)] * count
        else:
            one = stack.enter_context(on_port(host, port) if unix_socket is None else on_path(unix_socket))
            binds = [lambda: contextlib.nullcontext(one)] * count
        yield [stack.enter_context(Place(bind)) for bind in binds]
