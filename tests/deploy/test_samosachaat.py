"""deploy/samosachaat: what replaces the platform's own chat API and its Alembic."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest
import yaml

from chat_api import cli
from chat_api.migrate.apply import apply_migrations
from chat_api.observe.metrics import Metrics
from chat_api.serving.deadline import STOP_SECONDS
from chat_api.settings import Settings
from chat_api.settings.platform_names import PLATFORM_NAMES
from tests.deploy.test_grafana import promtool
from tests.migrate import earlier
from tests.migrate.catalog import catalog

FOLDER = Path(__file__).parents[2] / "deploy" / "samosachaat"
SCHEMA = Path(__file__).parents[1] / "support" / "fixtures" / "compose" / "compose-spec.json"
KNOWN = {name.upper() for name in [*Settings.model_fields, *PLATFORM_NAMES]}
HEAD = "004_add_favorited"
TESTED = Path(__file__).with_name("samosachaat.test.yml")


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return found


def test_the_compose_file_is_as_the_specification_wants_it() -> None:
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate(read("compose.yaml"))


def test_the_environment_is_of_settings_and_makes_them() -> None:
    services = read("compose.yaml")["services"]
    mine = services["chat-api"]["environment"] | services["chat-api-migrate"]["environment"]
    for given in (mine, read("values.yaml")["chatApi"]["env"]):
        assert given.keys() <= KNOWN
        filled = {
            name.lower(): re.sub(r"\$\{\w+(?::-([^}]*))?\}", lambda found: found[1] or "", text)
            for name, text in given.items()
        }
        assert Settings(_env_file=None, **filled).log_format == "json"


def test_the_commands_are_this_services() -> None:
    compose, values = read("compose.yaml")["services"], read("values.yaml")
    job = values["dbMigrate"]["command"]
    assert job[0] == "chat-api"
    for command in (compose["chat-api"]["command"], compose["chat-api-migrate"]["command"], job[1:]):
        options = cli.make_parser().parse_args(command)
        assert callable(options.command)


def test_stopping_leaves_time_to_drain() -> None:
    seconds = int(read("compose.yaml")["services"]["chat-api"]["stop_grace_period"].removesuffix("s"))
    assert seconds > Settings(_env_file=None).drain_seconds + STOP_SECONDS
    assert float(read("values.yaml")["chatApi"]["env"]["DRAIN_SECONDS"]) + STOP_SECONDS < 60


def test_what_waits_for_what_is_there() -> None:
    services = read("compose.yaml")["services"]
    for service in services.values():
        assert service.get("depends_on", {}).keys() <= services.keys()
    volume = services["platform-tables"]["volumes"][0]
    assert "/deploy/samosachaat/platform.sql:/platform.sql:ro" in volume
    job = read("platform-tables.yaml")["spec"]["template"]["spec"]
    assert job["volumes"][0]["configMap"]["name"] == "platform-tables"
    for script in (
        services["platform-tables"]["command"][2].replace("$$", "$"),
        job["containers"][0]["command"][2],
    ):
        assert shlex.split(script)[-5:-1] == ["-v", "ON_ERROR_STOP=1", "-1", "-f"]


def test_every_metric_of_the_rules_is_exported() -> None:
    exported = {sample.name for family in Metrics().registry.collect() for sample in family.samples}
    families = {family.name for family in Metrics().registry.collect()}
    rules = [rule for group in read("samosachaat.rules.yml")["groups"] for rule in group["rules"]]
    for rule in rules:
        (name,) = re.findall(r"\bchat_\w+", rule["expr"])
        assert name in exported or re.sub("_(total|bucket|count|sum)$", "", name) in families
    assert {rule["record"] for rule in rules} == {
        "http_requests_total",
        *(f"http_request_duration_seconds_{each}" for each in ("bucket", "count", "sum")),
    }


def test_the_rules_give_the_platforms_dashboards_what_they_ask_for() -> None:
    promtool("check", "rules", str(FOLDER / "samosachaat.rules.yml"))
    promtool("test", "rules", str(TESTED))


def platform(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute((FOLDER / "platform.sql").read_bytes())


def alembic(*, is_favorited: bool) -> Callable[[str], None]:
    """What the platform's Alembic leaves behind: today's revisions, or those of an old release."""

    def run(database_url: str) -> None:
        earlier.make(database_url, is_favorited=is_favorited)
        with psycopg.connect(database_url) as connection:
            connection.execute("alter table users add column name varchar(255)")
            connection.execute("create table alembic_version (version_num varchar(32) primary key)")
            revision = HEAD if is_favorited else "003_create_messages"
            connection.execute("insert into alembic_version values (%s)", (revision,))

    return run


ORDERS = [
    *permutations([platform, apply_migrations]),
    *(
        (alembic(is_favorited=new), *rest)
        for new in (True, False)
        for rest in permutations([platform, apply_migrations])
    ),
    (platform, platform, apply_migrations, platform, apply_migrations),
]


@pytest.mark.parametrize("steps", ORDERS)
def test_in_whatever_order_the_end_is_the_same(
    new_database: Callable[[], str], steps: tuple[Callable[[str], object], ...]
) -> None:
    fresh, site = new_database(), new_database()
    apply_migrations(fresh)
    for step in steps:
        step(site)
    with psycopg.connect(fresh) as one, psycopg.connect(site) as other:
        expected, found = catalog(one), catalog(other)
        ours = {kind: {row for row in rows if row[0] != "alembic_version"} for kind, rows in found.items()}
        assert ours == expected
        # Alembic finds nothing left to do, and a user's deletion still deletes what is the user's.
        assert other.execute("select version_num from alembic_version").fetchall() == [(HEAD,)]
        assert other.execute(
            "select confdeltype::text, convalidated from pg_constraint"
            " where conrelid = 'conversations'::regclass and confrelid = 'users'::regclass"
        ).fetchall() == [("c", True)]
        other.execute("select id, email from users")


def test_rows_of_unknown_users_stay_and_cost_only_the_foreign_key(new_database: Callable[[], str]) -> None:
    site = new_database()
    apply_migrations(site)
    with psycopg.connect(site) as connection:
        connection.execute("insert into conversations (user_id) values (gen_random_uuid())")
    platform(site)
    with psycopg.connect(site) as connection:
        assert connection.execute("select count(*) from conversations").fetchall() == [(1,)]
        found = connection.execute("select from pg_constraint where confrelid = 'users'::regclass").fetchall()
        assert found == []


def test_a_later_revision_of_the_platform_is_left_alone(new_database: Callable[[], str]) -> None:
    site = new_database()
    alembic(is_favorited=True)(site)
    with psycopg.connect(site) as connection:
        connection.execute("update alembic_version set version_num = '005_later'")
    platform(site)
    with psycopg.connect(site) as connection:
        assert connection.execute("select version_num from alembic_version").fetchall() == [("005_later",)]
