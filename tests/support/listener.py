"""A listener that keeps what it hears."""

from __future__ import annotations

from chat_api.inference import CallPiece


class Heard:
    """An inference.Listener. `data` has the events of readers, in order."""

    def __init__(self) -> None:
        self.said = ""
        self.thought = ""
        self.pieces: list[CallPiece] = []
        self.data: list[bytes] = []
        self.signs_of_life = 0

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
