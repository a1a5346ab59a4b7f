"""A listener that keeps what it hears."""

from __future__ import annotations

import asyncio

from chat_api.inference import CallPiece, Try


class Heard:
    """An inference.Listener. `data` has the events of readers, in order, and `tries` what was asked."""

    def __init__(self) -> None:
        self.said = ""
        self.thought = ""
        self.pieces: list[CallPiece] = []
        self.data: list[bytes] = []
        self.signs_of_life = 0
        self.tries: list[Try] = []
        self.heard_at = 0.0

    @property
    def has_spoken(self) -> bool:
        return bool(self.data)

    def ask(self, server: str, model: str) -> None:
        self.heard_at = asyncio.get_running_loop().time()

    def tried(self, done: Try) -> None:
        self.tries.append(done)

    def text(self, text: str, data: bytes) -> None:
        self.said += text
        self.data.append(data)

    def reasoning(self, text: str, data: bytes) -> None:
        self.thought += text
        self.data.append(data)

    def tool_call(self, piece: CallPiece, data: bytes) -> None:
        self.pieces.append(piece)
        self.data.append(data)

    def other(self, data: bytes) -> None:
        self.data.append(data)

    def alive(self) -> None:
        self.signs_of_life += 1
