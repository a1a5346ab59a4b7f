"""nanochat's own server, scripts/chat_web.py (docs/contract.md section 4)."""

from __future__ import annotations

import orjson

from chat_api import errors
from chat_api.inference.nanochat import Nanochat

MODEL = "nanochat"


class ChatWeb(Nanochat):
    """Has the events and limits of samosaChaat's service, and neither keys nor a choice of models."""

    protocol = "chat_web"
    searches = False

    async def models(self) -> bytes:
        """The one model. It has no name there: it is chosen when the server is started."""
        return orjson.dumps({"current_model": MODEL, "models": [MODEL]})

    async def swap(self, model_tag: str) -> tuple[int, bytes]:
        """Raises NotSupported."""
        raise errors.NotSupported(
            "This model server can't swap its model; start it with another --model-tag."
        )

    def _answers_at(self) -> str:
        return self._endpoint.url("/chat/completions")
