"""The dashboard and the alerts match what the service exports, and the real Prometheus accepts them."""

from __future__ import annotations

import re
import subprocess
from itertools import combinations, pairwise
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from chat_api.dev.postgres.server import Postgres
from chat_api.settings import Settings
from tests.deploy.nginx.server import program
from tests.deploy.prometheus import Prometheus
from tests.deploy.queries import ROOT, alerts, dashboard, promql, targets
from tests.docs.page import table
from tests.observe.figures import families, named, samples, scrape, use
from tests.support import processes
from tests.support.model_server import ModelServer

TESTS = Path(__file__).with_name("alerts.test.yml")
TARGET_LABELS = {"job", "instance"}  # Prometheus' own
ALERT_LABELS = {"alertname", "alertstate"}
RUNBOOK = ROOT / "docs" / "operations" / "runbook.md"


async def test_every_figure_and_label_that_is_named_is_in_a_real_scrape(
    settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    async with processes.Service(settings, "--workers", "2") as service:
        await use(service, user, model)
        text = await scrape(service)
    there, labels = samples(text), families(text)
    queries = list(promql())
    assert len(queries) > 60
    for place, query in queries:
        assert set(named(query)) <= there, place
        for name, matchers in re.findall(r"\b(chat_\w+|process_\w+)\{([^}]*)\}", query):
            family = labels.get(name) or labels[re.sub("_(bucket|sum|count)$", "", name)]
            wanted = set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", matchers))
            assert wanted <= family.labels | TARGET_LABELS, (place, name)
        for grouping in re.findall(r"\bby \(([^)]*)\)", query):
            known = frozenset[str]().union(*(labels[_family(name)].labels for name in named(query)))
            wanted = {label.strip() for label in grouping.split(",")} - {"le"}
            assert wanted <= known | TARGET_LABELS | ALERT_LABELS, (place, grouping)


def _family(sample: str) -> str:
    return re.sub("_(bucket|sum|count)$", "", sample)


async def test_label_values_that_are_named_are_told(
    settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    """A query for a status, reason or state that never occurs would be silent for ever."""
    async with processes.Service(settings, "--workers", "2") as service:
        await use(service, user, model)
        text = await scrape(service)
    exported: dict[tuple[str, str], set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            for label, value in sample.labels.items():
                exported.setdefault((sample.name, label), set()).add(value)
    for place, query in promql():
        for name, matchers in re.findall(r"\b(chat_\w+)\{([^}]*)\}", query):
            for label, operator, value in re.findall(r"(\w+)(=~?)\"([^\"]*)\"", matchers):
                if label in TARGET_LABELS or (label, value) in [("status", "5.."), ("code", "rate_limited")]:
                    continue
                values = exported[name, label]
                matching = (
                    [each for each in values if re.fullmatch(value, each)] if operator == "=~" else values
                )
                assert matching if operator == "=~" else value in values, (place, name, label, value)


def test_every_query_is_promql(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, (_, query) in enumerate(promql())]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("test", "rules", str(TESTS))
    fired = set(re.findall(r'alertname="(\w+)"', TESTS.read_text()))
    assert fired == {alert["alert"] for alert in alerts()}


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        [program("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_prometheus_scrapes_the_workers_and_evaluates_every_query(
    settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    port = processes.free_port()
    async with processes.Service(settings, "--workers", "2", port=port) as service:
        await use(service, user, model)
        async with Prometheus(port) as prometheus:
            rules = await prometheus.rules()
            assert {rule["name"] for rule in rules} == {alert["alert"] for alert in alerts()}
            assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
            for place, query in promql():
                await prometheus.query(query)
                for name in named(query):
                    assert await prometheus.query(name), (place, name)
            assert await prometheus.query('ALERTS{alertstate="firing"}') == []


async def test_an_alert_fires_in_prometheus_when_its_case_is_real(
    settings: Settings, postgres: Postgres
) -> None:
    """A service on a database that isn't migrated: one of the alerts without a delay."""
    port = processes.free_port()
    unmigrated = settings.model_copy(update={"database_url": postgres.dsn(), "worker_lease": 1})
    async with processes.Service(unmigrated, port=port), Prometheus(port) as prometheus:

        async def fires() -> bool:
            return bool(
                await prometheus.query('ALERTS{alertname="ChatDatabaseNotMigrated", alertstate="firing"}')
            )

        await processes.until(fires)


def test_each_alert_has_its_entry_in_the_runbook_and_links_to_it() -> None:
    text = RUNBOOK.read_text()
    entries = re.findall("^### (.+)$", text.partition("\n## Alerts\n")[2].partition("\n## ")[0], re.MULTILINE)
    assert entries == [alert["alert"] for alert in alerts()]
    for alert in alerts():
        assert alert["annotations"]["runbook"] == f"docs/operations/runbook.md#{alert['alert'].lower()}"
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"]["summary"]


def test_each_entry_says_what_to_ask_and_what_to_do() -> None:
    for entry in re.split("^### ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]:
        name = entry.partition("\n")[0]
        if name in ("One user",):
            continue
        assert "- **Act**" in entry, name
        assert re.search(r"- \*\*(Query|Look)\*\*", entry), name


def test_every_link_within_the_runbook_leads_somewhere() -> None:
    text = RUNBOOK.read_text()
    anchors = {
        re.sub("[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall("^#+ (.+)$", text, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors
    assert len(table("runbook.md", "Symptoms")) > 10
    for page in RUNBOOK.parent.glob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), (page.name, link)


def test_the_dashboard_is_whole() -> None:
    panels = dashboard()["panels"]
    numbers = [panel["id"] for panel in panels]
    assert len(numbers) == len(set(numbers))
    for panel in panels:
        if panel["type"] == "row":
            assert panel["panels"] == []
            continue
        assert panel["description"], panel["title"]
        kind = "logs" if panel["type"] == "logs" else "datasource"
        assert panel["datasource"]["uid"] == f"${{{kind}}}", panel["title"]
        if panel["type"] != "logs":
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
    for panel, target in targets():
        assert target["datasource"] == panel["datasource"]
    references = [[target["refId"] for target in panel.get("targets", ())] for panel in panels]
    assert all(len(each) == len(set(each)) for each in references)
    titles = [(panel["title"]) for panel in panels if panel["type"] == "row"]
    assert len(titles) == len(set(titles))


def test_panels_lie_side_by_side() -> None:
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart or below, (one, other)
    assert all(before["y"] <= after["y"] for before, after in pairwise(places))


async def test_every_figure_is_on_the_dashboard(settings: Settings) -> None:
    shown = {_family(name) for _, target in targets() for name in named(target["expr"])}
    page = {row[0].strip("`") for row in table("metrics.md", "Table")}
    assert page - shown == set()


@pytest.fixture
async def statements() -> list[str]:
    """The SQL statements in the runbook."""
    blocks = re.findall(r"^ *```sql\n(.*?)^ *```", RUNBOOK.read_text(), re.DOTALL | re.MULTILINE)
    return [each.strip() for block in blocks for each in block.split(";") if each.strip()]


async def test_the_runbooks_sql_runs_and_changes_nothing(sql: object, statements: list[str]) -> None:
    import asyncpg

    assert isinstance(sql, asyncpg.Connection)
    assert len(statements) > 7
    async with sql.transaction(readonly=True):
        for statement in statements:
            await sql.fetch(statement)
