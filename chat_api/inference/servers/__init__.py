"""Which server answers: fail-over before the first word, breakers, bounds, and what is away."""

from chat_api.inference.servers.servers import ModelServers

__all__ = ["ModelServers"]
