"""The typed keys for the parts of the application and of a request; nothing else."""

from __future__ import annotations

from aiohttp import web

from chat_api.access.principal import Principal
from chat_api.access.proxy_header import ProxyHeader
from chat_api.access.refusals import Refusals
from chat_api.access.tickets import Tickets
from chat_api.access.tokens import TokenVerifier
from chat_api.generation.generations import Generations
from chat_api.inference.servers import ModelServers
from chat_api.observe.metrics import Metrics
from chat_api.postgres.database import Database
from chat_api.settings import Settings
from chat_api.settings.proxies import Proxies

SETTINGS = web.AppKey("settings", Settings)
PROXIES = web.AppKey("proxies", Proxies)
# A resource's name in the metrics: the contract's path, wherever the service is mounted.
ROUTES: web.AppKey[dict[web.AbstractResource | None, str]] = web.AppKey("routes", dict)
DATABASE = web.AppKey("database", Database)
VERIFIER = web.AppKey("verifier", TokenVerifier)
TICKETS = web.AppKey("tickets", Tickets)
# Only where AUTH names header.
PROXY_HEADER: web.AppKey[ProxyHeader] = web.AppKey("proxy_header", ProxyHeader)
INFERENCE: web.AppKey[ModelServers] = web.AppKey("inference", ModelServers)
GENERATIONS = web.AppKey("generations", Generations)
METRICS = web.AppKey("metrics", Metrics)
REFUSALS = web.AppKey("refusals", Refusals)

TRACE_ID = web.RequestKey("trace_id", str)
PRINCIPAL = web.RequestKey("principal", Principal)
