"""deploy/compose.yaml, as far as it can be tried without Docker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import jsonschema
import psycopg
import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from chat_api import cli
from chat_api.dev.postgres.installation import binaries
from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from chat_api.serving.deadline import STOP_SECONDS
from chat_api.settings import Settings
from tests.conftest import Start
from tests.deploy.nginx.server import MAIN, Nginx, program
from tests.deploy.queries import alerts
from tests.support import processes
from tests.support.model_server import ModelServer
from tests.support.reader import read_events, text_of

DEPLOY = Path(__file__).parents[2] / "deploy"
SCHEMA = Path(__file__).parents[1] / "support" / "fixtures" / "compose" / "compose-spec.json"
MINE = ("chat-api", "migrate")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file, with its `${…}` unchanged."""
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return read


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    """The services of the compose file."""
    found: dict[str, Any] = compose["services"]
    return found


def variables(text: str) -> set[str]:
    return set(re.findall(r"(?<!\$)\$\{(\w+)", text))


def mounts(service: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Files and folders of deploy/ with the places where the container has them."""
    for volume in service.get("volumes", ()):
        source, target, *_ = volume.split(":")
        if source.startswith("."):
            yield DEPLOY / source, target


def test_it_is_as_the_specification_wants_it(compose: dict[str, Any]) -> None:
    known = {key: value for key, value in compose.items() if key != "name"}  # newer than this schema
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate(known)
    assert re.fullmatch("[a-z0-9][a-z0-9_-]*", compose["name"])


def test_the_schema_refuses_what_is_wrong() -> None:
    wrong = {"services": {"a": {"image": "a", "comand": []}}}
    with pytest.raises(jsonschema.ValidationError, match="comand"):
        jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate(wrong)


def test_it_has_what_the_operators_were_promised(services: dict[str, Any]) -> None:
    assert {"chat-api", "postgres", "nginx", "prometheus", "grafana", "loki"} <= services.keys()


def test_every_image_is_pinned_to_a_version(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if name in MINE:
            assert (DEPLOY / service["build"]["context"] / "Dockerfile").is_file()
        else:
            assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?", service["image"]), name


def test_every_file_that_is_mounted_is_there(services: dict[str, Any]) -> None:
    found = [source for service in services.values() for source, _ in mounts(service)]
    assert len(found) > 10
    assert [source for source in found if not source.exists()] == []


def test_every_volume_and_network_is_declared(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source[0] in "./" or source in compose["volumes"]
        assert set(service["networks"]) <= compose["networks"].keys()


def test_the_services_environment_is_of_settings(services: dict[str, Any]) -> None:
    for name in MINE:
        assert services[name]["environment"].keys() <= {field.upper() for field in Settings.model_fields}, (
            name
        )


def test_a_filled_in_example_makes_settings(services: dict[str, Any]) -> None:
    given = {**dict.fromkeys(example(), "x"), **{name: text for name, text in example().items() if text}}

    def fill(text: str) -> str:
        return re.sub(r"\$\{(\w+)(?::[-?][^}]*)?\}", lambda match: given[match[1]], text)

    environment = {name.lower(): fill(text) for name, text in services["chat-api"]["environment"].items()}
    environment["web_token_url"] = ""
    settings = Settings(_env_file=None, **environment)
    assert settings.log_format == "json"


def example() -> dict[str, str]:
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_example_names_every_variable_and_holds_no_secret() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    assert variables(text) == example().keys()
    for name, value in example().items():
        assert not re.search("PASSWORD|KEY", name) or value == "", name
    # A missing secret stops the start, instead of being empty.
    for name in ("POSTGRES_PASSWORD", "SERVICE_PASSWORD", "GRAFANA_PASSWORD", "INTERNAL_API_KEY"):
        assert f"${{{name}:?" in text


def test_the_services_role_is_made_with_the_database_and_runs_it(
    services: dict[str, Any],
) -> None:
    """As PostgreSQL's image runs the scripts. On a separate server, because roles are server-wide."""
    [(script, _)] = [each for each in mounts(services["postgres"]) if "initdb" in each[1]]
    with tempfile.TemporaryDirectory(prefix="chat-compose-") as folder:
        Path(folder).chmod(0o755)
        with Postgres(Path(folder) / "data", settings={"fsync": "off"}) as server:
            place = conninfo_to_dict(server.dsn())
            environment = {
                "PATH": f"{binaries(None)}:{os.environ['PATH']}",
                "PGHOST": str(place["host"]),
                "PGPORT": str(place["port"]),
                "POSTGRES_USER": "postgres",
                "POSTGRES_DB": "postgres",
                "SERVICE_PASSWORD": "it's a \\ secret",
            }
            subprocess.run([script], env=environment, check=True, stdout=subprocess.DEVNULL)
            role = services["migrate"]["environment"]["SERVICE_ROLE"]
            assert urlsplit(services["chat-api"]["environment"]["DATABASE_URL"]).username == role
            apply_migrations(server.dsn(), role)
            with psycopg.connect(server.dsn(), user=role) as service:
                assert service.execute("select count(*) from conversations").fetchone() == (0,)


def test_migrations_run_before_the_service(services: dict[str, Any]) -> None:
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["chat-api"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert services["nginx"]["depends_on"] == {"chat-api": {"condition": "service_healthy"}}
    for name in MINE:
        options = cli.make_parser().parse_args(services[name]["command"])
        assert callable(options.command)
    assert services["chat-api"]["image"] == services["migrate"]["image"]


def test_who_is_waited_for_has_a_health_check(services: dict[str, Any]) -> None:
    image = (DEPLOY.parent / "Dockerfile").read_text()
    waits = [service["depends_on"] for service in services.values() if "depends_on" in service]
    for name, how in [pair for each in waits if isinstance(each, dict) for pair in each.items()]:
        if how["condition"] == "service_healthy":
            assert "healthcheck" in services[name] or (name in MINE and "HEALTHCHECK" in image), name


def test_stopping_leaves_time_to_drain(services: dict[str, Any]) -> None:
    seconds = int(services["chat-api"]["stop_grace_period"].removesuffix("s"))
    assert seconds > Settings(_env_file=None).drain_seconds + STOP_SECONDS


def test_only_nginx_is_reached_from_outside(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published.keys() == {"nginx", "prometheus", "grafana"}
    assert all(
        port.startswith("127.0.0.1:") for name in ("prometheus", "grafana") for port in published[name]
    )


def test_the_service_trusts_the_network_where_nginx_is(compose: dict[str, Any]) -> None:
    subnet = compose["networks"]["front"]["ipam"]["config"][0]["subnet"]
    assert compose["services"]["chat-api"]["environment"]["TRUSTED_PROXIES"] == subnet
    assert compose["services"]["nginx"]["networks"] == ["front"]
    members = {name for name, each in compose["services"].items() if "front" in each["networks"]}
    assert members == {"nginx", *MINE}


def test_grafana_finds_its_neighbours_and_its_dashboard(services: dict[str, Any]) -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "chat-api.yaml").read_text())["datasources"]
    assert {source["type"]: source["url"] for source in sources} == {
        "prometheus": "http://prometheus:9090",
        "loki": "http://loki:3100",
    }
    provider = yaml.safe_load((provisioning / "dashboards" / "chat-api.yaml").read_text())["providers"][0]
    places = {target: source for source, target in mounts(services["grafana"])}
    assert (places[provider["options"]["path"]] / "chat-api.json").is_file()
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/chat-api.json"
    neighbours = set(services["grafana"]["networks"])
    assert all(neighbours & set(services[name]["networks"]) for name in ("prometheus", "loki"))


def test_lines_reach_loki_by_the_label_that_is_asked_for(services: dict[str, Any]) -> None:
    alloy = (DEPLOY / "compose" / "alloy" / "config.alloy").read_text()
    assert alloy.count("{") == alloy.count("}")
    assert "http://loki:3100/loki/api/v1/push" in alloy
    assert yaml.safe_load((DEPLOY / "compose" / "loki" / "loki.yaml").read_text())["server"] == {
        "http_listen_port": 3100,
        "log_level": "warn",
    }
    label = services["chat-api"]["logging"]["options"]["labels"]
    assert f'"\\"{label}\\""' in alloy
    for service in services.values():
        assert service["logging"]["options"]["labels"] == label


def test_prometheus_takes_its_configuration(services: dict[str, Any], tmp_path: Path) -> None:
    places = {target: source for source, target in mounts(services["prometheus"])}
    text = places["/etc/prometheus/prometheus.yml"].read_text()
    assert "/etc/prometheus/rules/*.rules.yml" in text
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/etc/prometheus/rules", str(places["/etc/prometheus/rules"].resolve())))
    done = subprocess.run(
        [program("promtool"), "check", "config", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(alerts())} rules found" in done.stdout
    jobs = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}
    assert jobs["chat-api"]["static_configs"] == [{"targets": ["chat-api:8002"]}]


class ComposeNginx(Nginx):
    """nginx with its container's files, on a port of this machine."""

    def __init__(self, service: dict[str, Any], upstream: int | None) -> None:
        super().__init__("compose", "compose", {})
        self._service = service
        self._upstream = upstream

    def _write(self) -> None:
        for name in ("conf.d", "snippets", "sites-enabled"):
            (self.folder / name).mkdir()
        for source, target in mounts(self._service):
            text = source.read_text()
            text = text.replace("listen 80;", f"listen 127.0.0.1:{self.port};")
            text = text.replace("server chat-api:8002;", f"server 127.0.0.1:{self._upstream};")
            (self.folder / Path(target).relative_to("/etc/nginx")).write_text(text)
        (self.folder / "nginx.conf").write_text(MAIN.format(folder=self.folder))

    def connect(self) -> aiohttp.ClientSession:
        """A client for this nginx."""
        return aiohttp.ClientSession(f"http://127.0.0.1:{self.port}")


async def test_nginx_serves_with_these_very_files(
    start: Start, settings: Settings, services: dict[str, Any], user: dict[str, str], model: ModelServer
) -> None:
    model.say = ["through"]
    client = await start(settings)
    async with ComposeNginx(services["nginx"], client.port) as nginx, nginx.connect() as session:
        path = await processes.open_conversation(session, user)
        async with session.post(f"{path}/messages", json={"content": "a"}, headers=user) as stream:
            assert text_of(await read_events(stream)) == "through"
        async with session.get("/metrics") as response:
            assert response.status == 404
            assert (await response.json())["code"] == "not_found"


def test_no_second_file_lies_about() -> None:
    """Each file of the compose folder is used."""
    text = (DEPLOY / "compose.yaml").read_text()
    files = [path for path in (DEPLOY / "compose").rglob("*") if path.is_file() and path.suffix != ".md"]
    assert [path for path in files if f"./{path.relative_to(DEPLOY)}" not in text] == []
