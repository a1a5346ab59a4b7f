"""docs/operations/metrics.md describes the metrics that the service exports."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry

from chat_api.observe.metrics import Metrics
from chat_api.observe.vitals import Vitals
from chat_api.settings import Settings
from tests.docs.page import FOLDER, names, table
from tests.observe.figures import Family, families, scrape, use
from tests.support import processes
from tests.support.model_server import ModelServer


@pytest.fixture
def page() -> dict[str, Family]:
    """The metrics on the page."""
    return {
        names(name)[0]: Family(kind, frozenset(names(labels)))
        for name, kind, labels, _ in table("metrics.md", "Table")
    }


def registered() -> CollectorRegistry:
    metrics = Metrics()
    Vitals(metrics)
    return metrics.registry


def test_the_page_has_every_figure_of_the_code_and_no_other(page: dict[str, Family]) -> None:
    kinds = {}
    for family in registered().collect():
        kinds[f"{family.name}_total" if family.type == "counter" else family.name] = family.type
    assert {name: family.type for name, family in page.items()} == kinds


def test_names_follow_prometheus_practices(page: dict[str, Family]) -> None:
    for name, family in page.items():
        assert re.fullmatch("(chat|process)(_[a-z]+)+", name)
        assert name.endswith("_total") == (family.type == "counter")
        # Base units are written out, and a histogram always has one.
        assert not re.search("_(ms|milliseconds|minutes|kb|mb|kilobytes|percent|count|sum|bucket)(_|$)", name)
        assert family.type != "histogram" or name.endswith("_seconds")
        assert family.labels <= {
            "method", "route", "status", "code", "limit", "type", "transport", "reason", "source", "outcome",
            "query",
            "error", "state", "version", "python", "pid", "server", "model",
        }, "of bounded values: none may be an id, a path or a text"  # fmt: skip


async def test_a_scrape_of_several_workers_is_as_the_page_says(
    settings: Settings, user: dict[str, str], model: ModelServer, page: dict[str, Family]
) -> None:
    async with processes.Service(settings, "--workers", "2") as service:
        await use(service, user, model)
        seen = families(await scrape(service))
        assert seen == page


async def test_each_worker_tells_its_vital_signs(settings: Settings) -> None:
    async with processes.Service(settings, "--workers", "2") as service:
        text = await scrape(service)
        for name in ("process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"):
            values = dict(re.findall(rf'^{name}{{pid="(\d)"}} (\S+)$', text, re.MULTILINE))
            assert values.keys() == {"0", "1"}, name
            assert all(float(value) > 0 for value in values.values())
        memory = [float(each) for each in re.findall(r"^process_resident_memory_bytes.* (\S+)$", text, re.M)]
        assert all(20e6 < each < 500e6 for each in memory)
        figures = dict(re.findall(r"^(\w+) (\S+)$", text, re.MULTILINE))
        assert float(figures["chat_workers"]) == 2
        assert float(figures["process_cpu_seconds_total"]) > 0.1
        assert float(figures["chat_database_connections_limit"]) == 20


def test_the_pages_queries_name_figures_that_there_are(page: dict[str, Family]) -> None:
    text = (FOLDER / "metrics.md").read_text().partition("## Queries")[2]
    named = set(re.findall(r"\bchat_\w+", text))
    assert named
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in named} <= page.keys()
