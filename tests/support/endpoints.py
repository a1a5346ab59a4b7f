"""The one model server and the one model of settings, for tests without the service."""

from __future__ import annotations

from chat_api.inference.endpoint import Endpoint
from chat_api.settings import Settings
from chat_api.settings.models import Chosen, load_catalogue


def only_endpoint(settings: Settings) -> Endpoint:
    """The one server and model of the settings, without a file."""
    catalogue = load_catalogue(settings)
    (server,) = catalogue.servers
    return Endpoint.of(catalogue, catalogue.default, server, settings)


def chosen(settings: Settings) -> Chosen:
    """The one model of the settings."""
    return load_catalogue(settings).choose("m")
