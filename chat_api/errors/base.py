"""What every error has: a status, a code and a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class ChatError(Exception):
    """A failure that is reported to the caller, as a status, a code and a sentence.

    Callers read the sentence, so it says what a person can do. A docstring won't do: python -OO drops it.
    """

    sentence: ClassVar[str] = "Something went wrong in the service; the details are in its log."
    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    retry_after: int | None = None  # seconds; set where a retry helps
    limit: ClassVar[str | None] = None  # the setting behind the limit, in lower case

    def __init__(self, detail: str | None = None, **extra: str) -> None:
        self.detail: Any = detail or self.sentence
        self.extra = extra
        super().__init__(str(self.detail))

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the response."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object of docs/contract.md section 1, Errors."""
        return {"detail": self.detail, "code": self.code, **self.extra}


def describe(error: BaseException) -> str:
    """An error for the log: its class and its text."""
    return f"{type(error).__name__}: {error}".rstrip(": ")
