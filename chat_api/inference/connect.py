"""From an endpoint to its client, and the session that all clients share."""

from __future__ import annotations

import aiohttp

from chat_api.inference.base import Inference
from chat_api.inference.chat_web import ChatWeb
from chat_api.inference.endpoint import Endpoint
from chat_api.inference.nanochat import Nanochat
from chat_api.inference.openai import OpenAI

PROTOCOLS: dict[str, type[Inference]] = {"nanochat": Nanochat, "chat_web": ChatWeb, "openai": OpenAI}


def new_session(trace_configs: list[aiohttp.TraceConfig] | None = None) -> aiohttp.ClientSession:
    """The session for calls to model servers.

    Some of them close a connection after a stream without announcing it, so none is used twice.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
        trace_configs=trace_configs,
    )


def connect(endpoint: Endpoint, session: aiohttp.ClientSession) -> Inference:
    """A client that speaks the protocol of the endpoint's server. It connects when it is asked."""
    return PROTOCOLS[endpoint.server.protocol](endpoint, session)


def untraced(inference: Inference, _: Endpoint) -> Inference:
    """The client as it is: what tracing does in its absence."""
    return inference
