"""A server that sends given bytes, HTTP or not."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from typing import Self


class RawServer:
    """Takes a request, sends `answer`, and then closes, resets, or waits for the client to leave.

    `request` is what it received. `left` is set when a client has left.
    """

    def __init__(
        self,
        answer: bytes = b"",
        *,
        then: str = "close",
        host: str = "127.0.0.1",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.answer = answer
        self.request = b""
        self.came = asyncio.Event()
        self.left = asyncio.Event()
        self._then = then
        self._host = host
        self._context = context
        self._answering: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, self._host, 0, ssl=self._context)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._answering:  # the client should have left, and didn't
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{self.port}"

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: StreamWriter would make a task of it, which logs the errors that tests cause.
        self._answering.add(asyncio.create_task(self._answer(reader, writer)))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._then != "be silent":
                self.request = await reader.readuntil(b"\r\n\r\n")
                length = self.request.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                self.request += await reader.readexactly(int(length))
                writer.write(self.answer)
            self.came.set()
            if self._then == "reset":
                await writer.drain()
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()  # so that closing sends a reset
            elif self._then != "close":
                while await reader.read(65536):
                    pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the client left, which is what some tests are about
        finally:
            self.left.set()
            writer.close()
