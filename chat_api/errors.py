"""The errors that callers get, each with its status.

ChatError 500
    BadRequest 400
        NothingToRegenerate 400
    NotHttp 400
    Unauthorized 401
        InvalidToken 401
        UnknownUser 401
    Forbidden 403
    NotFound 404
        ConversationNotFound 404
    MethodNotAllowed 405
    GenerationRunning 409
    NoOpenCalls 409
    RequestTimeout 408
    BodyTooLarge 413
    NotJson 415
    Invalid 422
    HeadersTooLarge 431
    UpgradeRequired 426
    LimitReached 429
        RateLimited 429
        SendingTooFast 429
        AddressSendingTooFast 429
        TooManySignInFailures 429
        TooManyAnswers 429
        TooManyConversations 429
        TooManySubscriptions 429
    NotSupported 501
        UsersNotReadable 501
    AuthBroken 502
    InferenceError 502
        InferenceRejected 502
            ConversationTooLong 502
        InferenceBroken 502
        InferenceInterrupted 502
        WorkerLost 502
        AnswerEmpty 502
        AnswerFiltered 502
        AnswerCutBeforeText 502
    Unavailable 503
        AuthUnavailable 503
        RequestRepeated 503
        DatabaseUnavailable 503
            DatabaseNotMigrated 503
        Draining 503
        InferenceUnavailable 503
        InferenceTimeout 503
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple


class Refusal(NamedTuple):
    """What the model server said when it refused a request, or failed; "" where it said nothing.

    `status` is 0 for an error within a stream that names none.
    `code` and `param` are names. `message` may repeat what users wrote, so it is never shown to callers, and
    it is logged only with LOG_INFERENCE_ERRORS. It has at most 2,048 characters.
    """

    status: int
    code: str = ""
    message: str = ""
    param: str = ""


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


class BadRequest(ChatError):
    sentence = "The request body is not valid JSON."
    status, code = 400, "invalid_json"


class NotHttp(ChatError):
    sentence = "This isn't an HTTP request."
    status, code = 400, "not_http"


class NothingToRegenerate(BadRequest):
    sentence = "There is no user message in this conversation to answer again."
    code = "nothing_to_regenerate"


class Unauthorized(ChatError):
    sentence = 'Sign in first, with the header "Authorization: Bearer <token>".'
    status, code = 401, "unauthorized"

    @property
    def headers(self) -> Mapping[str, str]:
        """Name the scheme, as RFC 9110 section 11.6.1 requires."""
        return {"WWW-Authenticate": "Bearer"}


class InvalidToken(Unauthorized):
    sentence = "Your session has ended or the token is not valid. Sign in again."
    code = "invalid_token"


class UnknownUser(Unauthorized):
    sentence = "This user no longer exists. Sign in again."
    code = "unknown_user"


class Forbidden(ChatError):
    sentence = "Only administrators may do this."
    status, code = 403, "forbidden"


class NotFound(ChatError):
    sentence = "There is nothing at this URL."
    status, code = 404, "not_found"


class ConversationNotFound(NotFound):
    sentence = "There is no such conversation."
    code = "conversation_not_found"


class MethodNotAllowed(ChatError):
    sentence = "This URL doesn't accept this method."
    status, code = 405, "method_not_allowed"

    def __init__(self, allowed: set[str]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__(f"This URL accepts only {self.allowed}.")

    @property
    def headers(self) -> Mapping[str, str]:
        """List the methods, as RFC 9110 section 15.5.6 requires."""
        return {"Allow": self.allowed}


class GenerationRunning(ChatError):
    sentence = "An answer is being written in this conversation. Wait for it or stop it first."
    status, code = 409, "generation_running"


class NoOpenCalls(ChatError):
    sentence = "No tool call waits for its result: the conversation went on, or there was none."
    status, code = 409, "no_open_calls"


class RequestTimeout(ChatError):
    sentence = "The request took too long to arrive. Send it again."
    status, code, limit = 408, "request_timeout", "request_timeout"


class BodyTooLarge(ChatError):
    sentence = "The request body is too large."
    status, code, limit = 413, "body_too_large", "max_body_bytes"


class NotJson(ChatError):
    sentence = 'Send JSON, with the header "Content-Type: application/json".'
    status, code = 415, "not_json"


class Invalid(ChatError):
    sentence = "Some fields are not valid."
    status, code = 422, "validation_failed"

    def __init__(self, problems: list[dict[str, Any]]) -> None:
        super().__init__()
        self.detail = problems

    @classmethod
    def of(cls, kind: str, loc: tuple[str, ...], msg: str) -> Invalid:
        """An error with a single problem, in pydantic's form."""
        return cls([{"type": kind, "loc": list(loc), "msg": msg}])


class HeadersTooLarge(ChatError):
    sentence = "The request's URL or headers are too large."
    status, code, limit = 431, "headers_too_large", "max_header_bytes"


class UpgradeRequired(ChatError):
    sentence = "This URL accepts only WebSocket connections, version 13."
    status, code = 426, "upgrade_required"

    @property
    def headers(self) -> Mapping[str, str]:
        """Name the protocol, as RFC 9110 section 15.5.22 and RFC 6455 section 4.4 require."""
        return {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}


class LimitReached(ChatError):
    sentence = "Too much at once. Wait a moment."
    status, retry_after = 429, 1


class _Paced(LimitReached):
    """A limit that knows when it will let the next request through."""

    def __init__(self, seconds: float = 1) -> None:
        self.retry_after = max(1, math.ceil(seconds))
        super().__init__(f"{self.sentence.removesuffix('.')} in {in_words(self.retry_after)}.")


class RateLimited(_Paced):
    sentence = "You have sent too many commands in a short time. Try again."
    code, limit = "rate_limited", "commands_per_minute"


class SendingTooFast(_Paced):
    sentence = "You have sent too many messages in a short time. Try again."
    code, limit = "sending_too_fast", "sends_per_user"


class AddressSendingTooFast(_Paced):
    sentence = "Too many messages have come from your IP address in a short time. Try again."
    code, limit = "address_sending_too_fast", "sends_per_address"


class TooManySignInFailures(_Paced):
    sentence = "Too many sign-ins from your IP address have failed. Try again."
    code, limit = "too_many_sign_in_failures", "sign_in_failures_per_address"


class TooManyAnswers(LimitReached):
    sentence = "Too many answers are being written for you at once. Wait for one, or stop one."
    code, retry_after, limit = "too_many_answers", 5, "max_answers_per_user"


class TooManyConversations(LimitReached):
    sentence = "You have reached the maximum number of conversations. Delete one first."
    code, retry_after, limit = "too_many_conversations", 60, "max_conversations_per_user"


class TooManySubscriptions(LimitReached):
    sentence = "This connection follows too many conversations. Unsubscribe from one first."
    code, retry_after, limit = "too_many_subscriptions", 60, "max_subscriptions"


class NotSupported(ChatError):
    sentence = "The model server can't do this."
    status, code = 501, "not_supported"


class UsersNotReadable(NotSupported):
    sentence = "The platform's users aren't in this database, or this service may not read them."
    code = "users_not_readable"


class AuthBroken(ChatError):
    sentence = "The auth service sent a response that this service doesn't understand. Tell the operator."
    status, code = 502, "auth_broken"


class InferenceError(ChatError):
    sentence = "The model server failed. Try again."
    status, code = 502, "inference_error"
    reason: Refusal | None = None  # what the server said; None if no response of the server is the reason


class InferenceRejected(InferenceError):
    sentence = "The model server refused the request."
    code = "inference_rejected"


class ConversationTooLong(InferenceRejected):
    sentence = "The conversation is too long for this model. Shorten the message, or start a new chat."
    code = "conversation_too_long"


class InferenceBroken(InferenceError):
    sentence = "The model server sent something that this service doesn't understand."
    code = "inference_broken"


class InferenceInterrupted(InferenceError):
    sentence = "The model server broke off in the middle of the answer. Try again."
    code = "inference_interrupted"


class WorkerLost(InferenceError):
    sentence = "The server that was writing this answer went away. Try again."
    code = "worker_lost"


class AnswerEmpty(InferenceError):
    sentence = "The model ended its answer without saying anything. Try again."
    code = "answer_empty"


class AnswerFiltered(InferenceError):
    sentence = "The model server's content filter withheld the answer. Try again in other words."
    code = "answer_filtered"


class AnswerCutBeforeText(InferenceError):
    sentence = "The answer reached its maximum length before its text began. Allow it more tokens."
    code = "answer_cut_before_text"


class Unavailable(ChatError):
    sentence = "The service can't be reached just now. Try again in a few seconds."
    status, code, retry_after = 503, "unavailable", 5


class AuthUnavailable(Unavailable):
    sentence = "The auth service can't be reached just now. Try again in a few seconds."
    code = "auth_unavailable"


class RequestRepeated(Unavailable):
    sentence = "Another request reached this conversation at the same moment. Try again."
    code = "request_repeated"


class DatabaseUnavailable(Unavailable):
    sentence = "The database can't be reached just now. Try again in a few seconds."
    code = "database_unavailable"


class DatabaseNotMigrated(DatabaseUnavailable):
    sentence = 'The database isn\'t prepared for this version. The operator must run "chat-api migrate".'
    code = "database_not_migrated"


class Draining(Unavailable):
    sentence = "This server is being restarted. Try again in a few seconds."
    code = "draining"


class InferenceUnavailable(Unavailable, InferenceError):
    sentence = "The model server can't be reached just now. Try again in a few seconds."
    code = "inference_unavailable"


class InferenceTimeout(Unavailable, InferenceError):
    sentence = "The model server took too long. Try again."
    code = "inference_timeout"


def kinds(root: type[ChatError] = ChatError) -> list[type[ChatError]]:
    """An error class and all its subclasses, each once."""
    known = [root]
    for error in known:
        known += [each for each in error.__subclasses__() if each not in known]
    return known


def from_code(code: str | None) -> ChatError:
    """The error for a code that is stored with a failed generation. An unknown code gives a ChatError."""
    return next((error() for error in kinds() if error.code == code), ChatError())


def in_words(seconds: int) -> str:
    """A waiting time in words, rounded up so that waiting that long is enough."""
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds > 2 * length:
            return f"{math.ceil(seconds / length)} {unit}s"
    return "a second" if seconds == 1 else f"{seconds} seconds"


def describe(error: BaseException) -> str:
    """An error for the log: its class and its text."""
    return f"{type(error).__name__}: {error}".rstrip(": ")
