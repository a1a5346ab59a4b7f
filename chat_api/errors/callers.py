"""Errors that the caller can mend: in the request, or in what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat_api.errors.base import ChatError


class BadRequest(ChatError):
    sentence = "The request body is not valid JSON."
    status, code = 400, "invalid_json"


class NotHttp(ChatError):
    sentence = "This isn't an HTTP request."
    status, code = 400, "not_http"


class NothingToRegenerate(BadRequest):
    sentence = "There is no user message in this conversation to answer again."
    code = "nothing_to_regenerate"


class NothingToContinue(BadRequest):
    sentence = "There is no answer here that was cut off and could go on. Send a message instead."
    code = "nothing_to_continue"


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


class InvalidTicket(Unauthorized):
    sentence = "The ticket was used already, or is older than 30 seconds. Ask for a new one."
    code = "invalid_ticket"


class UnknownUser(Unauthorized):
    sentence = "This user no longer exists. Sign in again."
    code = "unknown_user"


class Forbidden(ChatError):
    sentence = "Only administrators may do this."
    status, code = 403, "forbidden"


class ScopeMissing(Forbidden):
    """`scope`: the one that it takes."""

    sentence = "This API key isn't for that. Ask for a key with the scope that it takes."
    code = "scope_missing"

    def __init__(self, scope: str = "chat") -> None:
        self._scope = scope
        super().__init__(f"This API key isn't for that: it takes one with the scope {scope}.", scope=scope)

    @property
    def headers(self) -> Mapping[str, str]:
        """Say which scope would do, as RFC 6750 section 3.1 has it."""
        return {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{self._scope}"'}


class OriginRefused(Forbidden):
    sentence = "Only the chat's own pages may do this. Open the chat itself, and try it there."
    code = "origin_refused"


class NotFound(ChatError):
    sentence = "There is nothing at this URL."
    status, code = 404, "not_found"


class ConversationNotFound(NotFound):
    sentence = "There is no such conversation."
    code = "conversation_not_found"


class MessageNotFound(NotFound):
    sentence = "There is no such message in this conversation."
    code = "message_not_found"


class ResponseNotFound(NotFound):
    sentence = "There is no such response."
    code = "response_not_found"


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


class LegalHold(ChatError):
    sentence = "This is on legal hold, so it can't be deleted now. Ask whoever runs the service."
    status, code = 409, "legal_hold"


class QueueFull(ChatError):
    sentence = "Ten messages wait for their turn in this conversation. Take one back, or wait."
    status, code = 409, "queue_full"


class ModelGone(ChatError):
    sentence = "This conversation's model is no longer offered. Choose another one for it."
    status, code = 409, "model_gone"


class Followed(ChatError):
    sentence = "What comes after this builds on it. Delete that first, or the whole conversation."
    status, code = 409, "followed"


class NoOpenCalls(ChatError):
    sentence = "No tool call waits for its result: the conversation went on, or there was none."
    status, code = 409, "no_open_calls"


class RequestTimeout(ChatError):
    sentence = "The request took too long to arrive. Send it again."
    status, code, limit = 408, "request_timeout", "request_timeout"


class ConversationChanged(ChatError):
    sentence = "The conversation has been changed meanwhile. Load it again, and repeat your change."
    status, code = 412, "conversation_changed"


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
