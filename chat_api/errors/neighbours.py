"""Errors of the service's neighbours, and of the service where it can't be reached."""

from __future__ import annotations

from typing import NamedTuple

from chat_api.errors.base import ChatError


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
    rest_seconds: int | None = None  # for how long a server that has too much to do wants no more


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


class QueryBroken(DatabaseUnavailable):
    sentence = "A query that the operator has changed doesn't fit the database. Tell the operator."
    code = "query_broken"


class Draining(Unavailable):
    sentence = "This server is being restarted. Try again in a few seconds."
    code = "draining"


class InferenceUnavailable(Unavailable, InferenceError):
    sentence = "The model server can't be reached just now. Try again in a few seconds."
    code = "inference_unavailable"


class InferenceTimeout(Unavailable, InferenceError):
    sentence = "The model server took too long. Try again."
    code = "inference_timeout"
