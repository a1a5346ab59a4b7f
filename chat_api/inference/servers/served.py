"""The models of a catalogue, each with a client for each of its servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chat_api.inference.base import Inference
from chat_api.inference.endpoint import Endpoint
from chat_api.inference.servers.model_server import ModelServer
from chat_api.settings import Settings
from chat_api.settings.models import Catalogue, Model

Connect = Callable[[Endpoint], Inference]


@dataclass(frozen=True, slots=True)
class Client:
    """A model on one of its servers."""

    server: ModelServer
    endpoint: Endpoint
    inference: Inference


@dataclass(frozen=True, slots=True)
class Served:
    """A model with its clients, in the order of the file."""

    tag: str
    model: Model
    clients: tuple[Client, ...]

    def in_order(self) -> list[Client]:
        """The clients, the one to be asked first at the beginning."""
        if self.model.order == "listed":
            return list(self.clients)
        return sorted(self.clients, key=lambda client: client.server.slots.load)


def serve(
    catalogue: Catalogue, settings: Settings, connect: Connect, before: Mapping[str, Served]
) -> dict[str, Served]:
    """All models by tag. What hasn't changed since `before` is kept, with all that was learnt of it."""
    known = {client.server.name: client.server for served in before.values() for client in served.clients}
    servers = {
        name: known[name] if name in known and known[name].server == server else ModelServer(name, server)
        for name, server in catalogue.servers.items()
    }
    clients = [client for served in before.values() for client in served.clients]
    served = {}
    for tag, model in catalogue.models.items():
        endpoints = {name: Endpoint.of(catalogue, tag, name, settings) for name in model.servers}
        served[tag] = Served(
            tag,
            model,
            tuple(
                Client(
                    servers[name],
                    endpoint,
                    next((each.inference for each in clients if each.endpoint == endpoint), None)
                    or connect(endpoint),
                )
                for name, endpoint in endpoints.items()
            ),
        )
    return served
