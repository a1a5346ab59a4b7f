"""A scrape of a real service with several workers, after some use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from chat_api.settings import Settings
from tests.support import processes
from tests.support.model_server import ModelServer
from tests.support.reader import read_events
from tests.support.tab import open_tab

# PromQL's keywords and functions that match this pattern. No metric of the service begins like them.
METRIC = re.compile(r"\b(?:chat|process)_[a-z0-9_]+\b")


@dataclass(frozen=True)
class Family:
    """A metric as scraped: its type, and the labels of its samples."""

    type: str
    labels: frozenset[str]


async def use(service: processes.Service, user: dict[str, str], model: ModelServer) -> None:
    """Use some of everything: requests, one that a limit refuses, a stream, a socket."""
    async with service.session.get("/api/health", headers={"X-Long": "x" * 20_000}) as refused:
        assert refused.status == 431
    model.say = ["one", "two"]
    path = await processes.open_conversation(service.session, user)
    async with service.session.post(f"{path}/messages", json={"content": "a"}, headers=user) as stream:
        await read_events(stream)
    async with service.connect() as session, open_tab(session, user) as tab:
        await tab.ask("subscribe", path)


async def scrape(service: processes.Service) -> str:
    """The exposition that Prometheus gets."""
    async with service.session.get("/metrics") as response:
        assert response.status == 200
        return await response.text()


def families(text: str) -> dict[str, Family]:
    """The metrics by their names on the page: counters with `_total`, histograms without `_bucket`."""
    found = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = Family(family.type, frozenset(labels))
    return found


def samples(text: str) -> set[str]:
    """The names of all series, as in queries."""
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


def named(query: str) -> Iterator[str]:
    """The metrics that a query names, ignoring label values."""
    yield from METRIC.findall(re.sub(r'"[^"]*"', '""', query))


def settings_for(settings: Settings) -> Settings:
    """Settings for workers that export their gauges soon."""
    return settings.model_copy(update={"log_level": "WARNING", "drain_seconds": 0})
