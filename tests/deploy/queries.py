"""All PromQL in deploy/ and docs/."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "chat-api.json"
RULES = ROOT / "deploy" / "grafana" / "alerts" / "chat-api.rules.yml"
PAGES = ROOT / "docs" / "operations"
VARIABLES = {"$__rate_interval": "1m", "$job": "chat-api", "$instance": ".*"}


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    read: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return read


def alerts() -> list[dict[str, Any]]:
    """The alert rules."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def targets() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The dashboard's panels, each with its queries."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel, target


def promql() -> Iterator[tuple[str, str]]:
    """Each query with its place, and with Grafana's variables replaced."""
    for panel, target in targets():
        if target["datasource"]["type"] == "prometheus":
            yield f"panel {panel['title']}", _plain(target["expr"])
    for annotation in dashboard()["annotations"]["list"]:
        yield f"annotation {annotation['name']}", _plain(annotation["expr"])
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            selector = re.fullmatch(r"label_values\((.+), \w+\)", variable["query"]["query"])
            assert selector
            yield f"variable {variable['name']}", _plain(selector[1])
    for alert in alerts():
        yield f"alert {alert['alert']}", alert["expr"]
    for path in sorted(PAGES.glob("*.md")):
        for query in _page(path.read_text()):
            yield path.name, query


def _plain(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


def _page(text: str) -> Iterator[str]:
    for block in re.findall(r"^ *```promql\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        yield from (line.strip() for line in block.splitlines() if line.strip() and line.strip()[0] != "#")
    for inline in re.findall(r"\*\*Query\*\*: (.*)", text):
        yield from re.findall("`([^`]+)`", inline)
