"""One model on one server: where it is asked, how, and for how long it may be silent."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from chat_api.settings import Settings
from chat_api.settings.models import Catalogue, Model, Server


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model on a server. `served_as` is what the server calls it, "" for whatever it serves by default."""

    server: Server
    model: Model
    served_as: str
    settings: Settings

    @classmethod
    def of(cls, catalogue: Catalogue, tag: str, server: str, settings: Settings) -> Endpoint:
        """The model with this tag on one of its servers."""
        served_as = catalogue.served_as(tag, server)
        return cls(catalogue.servers[server], catalogue.models[tag], served_as, settings)

    def url(self, path: str) -> str:
        """The URL of a path below the server's. Its query string is kept (Azure's `api-version`)."""
        base = urlsplit(self.server.url)
        return urlunsplit((base.scheme, base.netloc, base.path.rstrip("/") + path, base.query, ""))

    @property
    def connect_timeout(self) -> float:
        """Seconds to reach the server."""
        return self.server.connect_timeout or self.settings.inference_connect_timeout

    @property
    def first_token_timeout(self) -> float:
        """Seconds until the server sends anything of an answer."""
        return self.server.first_token_timeout or self.settings.inference_first_token_timeout

    @property
    def token_timeout(self) -> float:
        """Seconds of silence in the middle of an answer."""
        return self.server.token_timeout or self.settings.inference_token_timeout
