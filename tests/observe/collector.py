"""A collector that takes traces by OTLP over HTTP, and keeps them."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.scripted import Scripted


class Collector(Scripted):
    """`spans`: the names and attributes that it received. `hold`: an event that requests wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[tuple[str, dict[str, Any]]] = []
        self.resources: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.hold: asyncio.Event | None = None
        self.router.add_post("/v1/traces", self._take)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.hold is not None:
            await self.hold.wait()
        assert request.content_type == "application/x-protobuf"
        self.headers.append({name.lower(): text for name, text in request.headers.items()})
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(_read(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans += [(span.name, _read(span.attributes)) for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")


def _read(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
