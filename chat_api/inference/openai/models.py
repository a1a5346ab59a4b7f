"""Which models a server has, and which of them answers if the caller names none."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from chat_api import errors

if TYPE_CHECKING:
    from chat_api.errors import Refusal

# What lists say of models that chat, and of those that don't.
_CHATS = re.compile(r"chat|completion|generat|llm|vlm|language", re.I)
_NO_CHAT = re.compile(r"embed|rerank|feature-extraction|similarity|classif|moderation|transcri|speech", re.I)
_NO_CHAT_NAME = re.compile(r"embed|rerank", re.I)
_MISSING_CODES = {
    "model_not_found",
    "model_not_exist",
    "model_not_available",
    "model_decommissioned",
    "invalid_model",
    "not_found_error",
}
_MISSING = re.compile(
    r"model.{0,120}(not found|not? exist|not available|no longer|decommissioned|not support(ed)? chat)"
    r"|not a valid model|(invalid|unknown|no such) model|does not support (chat|completions)"
    r"|is not (an? )?(llm|chat model)",
    re.I | re.S,
)


class Models:
    """Finds the model for a tag. What `default` means is asked for once, and again when it is gone.

    `fetch` gets the server's list. `given` is the operator's choice, "" for none.
    """

    def __init__(self, fetch: Callable[[], Awaitable[list[dict[str, Any]]]], given: str) -> None:
        self._fetch = fetch
        self._given = given
        self._found: str | None = None

    async def choose(self, tag: str) -> str:
        """The model's name. Raises InferenceRejected if the server has none."""
        if not _is_default(tag):
            return tag
        if self._given:
            return self._given
        if self._found is None:
            names = chat_models(await self._fetch())
            if not names:
                raise errors.InferenceRejected("The model server offers no model; load one.")
            self._found = names[0]
        return self._found

    def known(self, tag: str) -> str:
        """The model's name, "" if it isn't known yet."""
        return tag if not _is_default(tag) else self._given or self._found or ""

    async def listed(self) -> tuple[str | None, list[str]]:
        """The model that answers by default, if there is one, and all names."""
        models = await self._fetch()
        names = [model["id"] for model in models]
        if self._found not in names:
            self._found = next(iter(chat_models(models)), None)
        return self._given or self._found, names

    async def instead_of(self, model: str, tag: str, refusal: errors.InferenceError) -> str:
        """The model to ask after the server has refused one as missing.

        Raises `refusal` if it was about something else, else InferenceRejected with the model's name.
        """
        names, is_gone = await self._still_there(model, refusal)
        if _is_default(tag) and not self._given:
            if self._found not in (None, model):
                return str(self._found)  # another answer has asked meanwhile
            self._found = next((name for name in names if name != model), None)
            if self._found is not None:
                return self._found
        if is_gone:
            raise errors.InferenceRejected(f'The model "{model}" isn\'t available at the model server.')
        raise refusal

    async def _still_there(self, model: str, refusal: errors.InferenceError) -> tuple[list[str], bool]:
        """The models that chat, and whether this one is gone. A bare 404 may mean a wrong address."""
        named = refusal.reason is not None and names_model(refusal.reason)
        try:
            models = await self._fetch()
        except errors.InferenceError:
            return [], named
        return chat_models(models), named or model not in [each["id"] for each in models]


def is_missing(refusal: Refusal | None) -> bool:
    """Whether a refusal may mean that the server doesn't have the model, or that it can't chat."""
    return refusal is not None and (refusal.status in (404, 410) or names_model(refusal))


def names_model(refusal: Refusal) -> bool:
    """Whether a refusal says so itself."""
    return refusal.status in (0, 400, 404, 410, 422) and (
        refusal.code in _MISSING_CODES or _MISSING.search(refusal.message) is not None
    )


def chat_models(models: list[dict[str, Any]]) -> list[str]:
    """The names of the models that chat, as far as the list tells; all names if none seems to."""
    names = [model["id"] for model in models]
    return [model["id"] for model in models if _can_chat(model)] or names


def _can_chat(model: dict[str, Any]) -> bool:
    said = " ".join(_said(model))
    if _NO_CHAT.search(said):
        return bool(_CHATS.search(said))
    return _CHATS.search(said) is not None or not _NO_CHAT_NAME.search(model["id"])


def _said(model: dict[str, Any]) -> list[str]:
    """What the list says that a model is for: a word, a list of words, or an object of yes and no."""
    words: list[str] = []
    for key in ("type", "task", "tasks", "capabilities", "model_type", "mode"):
        match model.get(key):
            case str(word):
                words.append(word)
            case list(several):
                words += [word for word in several if isinstance(word, str)]
            case dict(flags):
                words += [word for word, is_so in flags.items() if is_so is True and isinstance(word, str)]
    return words


def _is_default(tag: str) -> bool:
    return tag in ("", "default")
