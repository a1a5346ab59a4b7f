"""What a model server sends along with an answer's text: how much of it a worker keeps."""

from __future__ import annotations

import structlog

log = structlog.get_logger(__name__)

FREE_BYTES = 32  # of each event with text, for its form and a short field or two
CHARACTER_BYTES = 6  # at most, in JSON
MAX_ANSWER_BYTES = 4_194_304
MAX_WORKER_BYTES = 67_108_864


class Extras:
    """Counts the bytes that this worker's running answers have beside their text.

    Each event is held several times: in the log, in what goes to the journal, in what readers haven't taken.
    """

    def __init__(self) -> None:
        self.size_bytes = 0


class AnswerExtras:
    """The same for one answer. It belongs to the whole until `release`."""

    def __init__(self, worker: Extras) -> None:
        self._worker = worker
        self._size_bytes = 0

    def fit(self, text: str, data: bytes) -> bool:
        """Count an event with this text. Returns False if the answer has too much, and must end here."""
        extra = len(data) - (CHARACTER_BYTES * len(text) + FREE_BYTES if text else 0)
        if extra <= 0:
            return True
        self._size_bytes += extra
        self._worker.size_bytes += extra
        if self._size_bytes <= MAX_ANSWER_BYTES and self._worker.size_bytes <= MAX_WORKER_BYTES:
            return True
        log.warning(
            "inference_excessive",
            reason="the model server sends too much beside the text: the answer ends here",
            size_bytes=self._size_bytes,
        )
        return False

    def release(self) -> None:
        """The answer is over."""
        self._worker.size_bytes -= self._size_bytes
        self._size_bytes = 0
