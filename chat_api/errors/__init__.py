"""The errors that callers get, each with its status.

ChatError 500
    BadRequest 400
        NothingToRegenerate 400
        NothingToContinue 400
    NotHttp 400
    Unauthorized 401
        InvalidToken 401
        InvalidTicket 401
        UnknownUser 401
    Forbidden 403
        ScopeMissing 403
        OriginRefused 403
    NotFound 404
        ConversationNotFound 404
        MessageNotFound 404
        ResponseNotFound 404
    MethodNotAllowed 405
    GenerationRunning 409
    LegalHold 409
    QueueFull 409
    ModelGone 409
    Followed 409
    NoOpenCalls 409
    RequestTimeout 408
    ConversationChanged 412
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
        BudgetExhausted 429
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
            QueryBroken 503
        Draining 503
        InferenceUnavailable 503
        InferenceTimeout 503
"""

from __future__ import annotations

from chat_api.errors.base import (
    ChatError,
    describe,
)
from chat_api.errors.callers import (
    BadRequest,
    BodyTooLarge,
    ConversationChanged,
    ConversationNotFound,
    Followed,
    Forbidden,
    GenerationRunning,
    HeadersTooLarge,
    Invalid,
    InvalidTicket,
    InvalidToken,
    LegalHold,
    MessageNotFound,
    MethodNotAllowed,
    ModelGone,
    NoOpenCalls,
    NotFound,
    NothingToContinue,
    NothingToRegenerate,
    NotHttp,
    NotJson,
    OriginRefused,
    QueueFull,
    RequestTimeout,
    ResponseNotFound,
    ScopeMissing,
    Unauthorized,
    UnknownUser,
    UpgradeRequired,
)
from chat_api.errors.limits import (
    AddressSendingTooFast,
    BudgetExhausted,
    LimitReached,
    RateLimited,
    SendingTooFast,
    TooManyAnswers,
    TooManyConversations,
    TooManySignInFailures,
    TooManySubscriptions,
    in_words,
)
from chat_api.errors.neighbours import (
    AnswerCutBeforeText,
    AnswerEmpty,
    AnswerFiltered,
    AuthBroken,
    AuthUnavailable,
    ConversationTooLong,
    DatabaseNotMigrated,
    DatabaseUnavailable,
    Draining,
    InferenceBroken,
    InferenceError,
    InferenceInterrupted,
    InferenceRejected,
    InferenceTimeout,
    InferenceUnavailable,
    NotSupported,
    QueryBroken,
    Refusal,
    RequestRepeated,
    Unavailable,
    UsersNotReadable,
    WorkerLost,
)

__all__ = [
    "AddressSendingTooFast",
    "AnswerCutBeforeText",
    "AnswerEmpty",
    "AnswerFiltered",
    "AuthBroken",
    "AuthUnavailable",
    "BadRequest",
    "BodyTooLarge",
    "BudgetExhausted",
    "ChatError",
    "ConversationChanged",
    "ConversationNotFound",
    "ConversationTooLong",
    "DatabaseNotMigrated",
    "DatabaseUnavailable",
    "Draining",
    "Followed",
    "Forbidden",
    "GenerationRunning",
    "HeadersTooLarge",
    "InferenceBroken",
    "InferenceError",
    "InferenceInterrupted",
    "InferenceRejected",
    "InferenceTimeout",
    "InferenceUnavailable",
    "Invalid",
    "InvalidTicket",
    "InvalidToken",
    "LegalHold",
    "LimitReached",
    "MessageNotFound",
    "MethodNotAllowed",
    "ModelGone",
    "NoOpenCalls",
    "NotFound",
    "NotHttp",
    "NotJson",
    "NotSupported",
    "NothingToContinue",
    "NothingToRegenerate",
    "OriginRefused",
    "QueryBroken",
    "QueueFull",
    "RateLimited",
    "Refusal",
    "RequestRepeated",
    "RequestTimeout",
    "ResponseNotFound",
    "ScopeMissing",
    "SendingTooFast",
    "TooManyAnswers",
    "TooManyConversations",
    "TooManySignInFailures",
    "TooManySubscriptions",
    "Unauthorized",
    "Unavailable",
    "UnknownUser",
    "UpgradeRequired",
    "UsersNotReadable",
    "WorkerLost",
    "describe",
    "from_code",
    "in_words",
    "kinds",
]


def kinds(root: type[ChatError] = ChatError) -> list[type[ChatError]]:
    """An error class and all its subclasses, each once."""
    known = [root]
    for error in known:
        known += [each for each in error.__subclasses__() if each not in known]
    return known


def from_code(code: str | None) -> ChatError:
    """The error for a code that is stored with a failed generation. An unknown code gives a ChatError."""
    return next((error() for error in kinds() if error.code == code), ChatError())
