"""What failed at a model server, in a sentence for its operator."""

from __future__ import annotations

from chat_api import errors
from chat_api.commands.models.notes import Notes
from chat_api.inference.endpoint import Endpoint
from chat_api.inference.refusal import refuses_messages
from chat_api.settings.models import Server

MAX_CHARACTERS = 300  # of what a server says
NOT_IN_TIME = ("TimeoutError", "ServerTimeoutError", "SocketTimeoutError", "ConnectionTimeoutError")


def sentence(error: errors.InferenceError, said: Notes, server: Server) -> str:
    """What failed, with what the server says of it. The key isn't quoted."""
    parts = [_what(error, said, server)]
    message = "" if error.reason is None else readable(error.reason.message, server)
    if message:
        parts.append(f"It says: {message}")
    for note in said:
        if note["event"] == "inference_protocol_wrong":
            parts.append(f"It speaks the protocol {note['do'].partition('=')[2].partition(',')[0]}.")
            break
    return " ".join(parts)


def too_late(endpoint: Endpoint) -> str:
    """What is said of a server that is silent."""
    return f"Nothing came within {endpoint.connect_timeout + endpoint.first_token_timeout:g} seconds."


def no_answer() -> errors.InferenceError:
    """The error for an answer that ends with nothing said."""
    return errors.AnswerEmpty("It ended its answer without saying anything.")


def refused_parameters(said: Notes) -> tuple[str, ...]:
    """The parameters without which the model was asked again, or by another name (`max_tokens`)."""
    return tuple(note["parameter"] for note in said if note["event"] == "inference_adapted")


def readable(text: str, server: Server) -> str:
    """What a server says, on one line and not too long, without its key and the other headers' values."""
    for secret in server.credentials.values():
        for each in {secret, secret.removeprefix("Bearer ")} - {""}:
            text = text.replace(each, "…")
    line = "".join(each if each.isprintable() else " " for each in text)
    line = " ".join(line.split())
    return line if len(line) <= MAX_CHARACTERS else f"{line[:MAX_CHARACTERS]}…"


def _what(error: errors.InferenceError, said: Notes, server: Server) -> str:
    status = next((note["status"] for note in reversed(said) if "status" in note), 0)
    status = status if error.reason is None else error.reason.status
    http = f" (HTTP {status})" if status else ""
    why = next((note["reason"] for note in reversed(said) if note.get("reason")), "")
    because = f": {readable(why.partition(': ')[2] or why, server)}." if why else "."  # without its class
    match error:
        case errors.InferenceRejected() if status in (401, 403) and not _is_about_messages(error):
            return f"It {'refuses the key' if server.key.get_secret_value() else 'wants a key'}{http}."
        case errors.InferenceUnavailable() if status:
            return f"It has too much to do, or isn't ready{http}."
        case errors.InferenceUnavailable():
            is_late = why.partition(":")[0] in NOT_IN_TIME
            return "It didn't answer in time." if is_late else f"It can't be reached{because}"
        case errors.InferenceInterrupted():
            return f"It broke off before a token came{because}"
        case errors.InferenceBroken():
            return f"It sent something that this service doesn't understand{because}"
        case errors.InferenceRejected() if error.reason is not None:
            return f"It refused the request{http}."
        case errors.InferenceRejected() | errors.AnswerEmpty():
            return readable(str(error.detail), server)
        case _:
            return f"It failed{http}."


def _is_about_messages(error: errors.InferenceError) -> bool:
    return error.reason is not None and refuses_messages(error.reason)
