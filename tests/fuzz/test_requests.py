"""Thousands of requests made from the description: no 5xx, and only described statuses and bodies."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from asyncpg import Connection, Record

from chat_api.settings import Settings
from tests.support.auth_service import AuthService
from tests.support.model_server import ModelServer
from tests.support.processes import Service, free_port

HERE = Path(__file__).parent
RUNS = 2  # the service's ids are random, so that one run may miss what comes after a rare request
SECONDS = 300  # the limit on a busy machine; on two idle cores it takes a minute


async def schemathesis(folder: Path, port: int, headers: Mapping[str, str], *options: str) -> str:
    """Run schemathesis in a folder, against a port. Returns its output, and shows it if a check failed."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        *("--config-file", str(HERE / "schemathesis.toml"), "run"),
        f"http://127.0.0.1:{port}/api/openapi.json",
        *("--url", f"http://127.0.0.1:{port}"),
        *(word for name, value in headers.items() for word in ("--header", f"{name}: {value}")),
        *options,
        cwd=folder,  # where it stores failures
        env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def answered(service: Service) -> set[tuple[str, str, int]]:
    """The (method, route, status) of every request that the service has answered."""
    async with service.session.get("/metrics") as response:
        figures = await response.text()
    lines = re.findall(r'chat_requests_total{method="(\w+)",route="([^"]+)",status="(\d+)"}', figures)
    return {(method, route, int(status)) for method, route, status in lines}


def quiet(settings: Settings) -> Settings:
    """These settings, without a log line for each request."""
    return settings.model_copy(update={"log_level": "ERROR"})


async def test_requests_get_what_the_description_says(
    settings: Settings, auth: AuthService, model: ModelServer, sql: Connection[Record], tmp_path: Path
) -> None:
    await sql.execute("create table users (id uuid primary key, email text)")  # for GET /api/admin/users
    model.say = ["Boil ", "milk ", "🫖."]
    port = free_port()
    one, messages = "/api/conversations/{id}", "/api/conversations/{id}/messages"
    wanted = {
        *(("GET", "/api/conversations", status) for status in (200, 401, 422)),
        *(("POST", "/api/conversations", status) for status in (201, 400, 401, 415, 422)),
        *(("GET", one, status) for status in (200, 404)),
        *(("PUT", one, status) for status in (200, 400, 404, 422)),
        *(("DELETE", one, status) for status in (204, 404)),
        *(("POST", messages, status) for status in (200, 400, 401, 404, 422)),
        *(("POST", f"{one}/regenerate", status) for status in (200, 400, 404, 422)),
        *(("POST", f"{one}/continue", status) for status in (400, 404, 422)),
        *(("POST", f"{one}/fork", status) for status in (404, 422)),
        ("DELETE", f"{messages}/{{message_id}}", 404),
        *(("POST", f"{one}/tool_results", status) for status in (404, 409, 422)),
        *(("POST", "/v1/responses", status) for status in (400, 401)),
        ("GET", "/v1/responses/{response_id}", 404),
        ("GET", "/v1/models", 200),
        *(("GET", f"{one}/stream", status) for status in (200, 204, 404, 422)),
        *(("POST", f"{one}/stop", status) for status in (200, 404)),
        ("POST", "/api/models/swap", 202),
        ("POST", "/api/tickets", 201),
        ("GET", "/api/admin/users", 200),
    }
    async with Service(quiet(settings), port=port) as service:
        for _ in range(RUNS):
            said = await schemathesis(tmp_path, port, auth.sign_in(is_admin=True))
            seen = await answered(service)
            (count,) = re.findall(r"(\d+) generated, \1 passed", said)
            sys.stdout.write(f"\n{count} requests; not reached: {sorted(wanted - seen)}\n")
            assert int(count) > 2000
            if wanted <= seen:
                break
    assert wanted - seen == set(), "what the requests were to reach"
    assert 405 in {status for _, _, status in seen}


@pytest.mark.parametrize("trouble", ["no model", "a broken model", "no auth", "no database", "no admin"])
async def test_trouble_gets_what_the_description_says_too(
    settings: Settings,
    auth: AuthService,
    model: ModelServer,
    sql: Connection[Record],
    tmp_path: Path,
    trouble: str,
) -> None:
    headers = auth.sign_in(is_admin=trouble != "no admin")
    expected = {("GET", "/api/models", 503)}
    model.say = ["x"]
    match trouble:
        case "no model":
            settings = settings.model_copy(
                update={"inference_service_url": f"http://127.0.0.1:{free_port()}"}
            )
            expected |= {("POST", "/api/models/swap", 503)}
        case "a broken model":
            model.refuse = model.models = model.swap = (500, "out of order")
            expected = {("GET", "/api/models", 502), ("POST", "/api/models/swap", 502)}
        case "no auth":
            settings = settings.model_copy(update={"auth_service_url": f"http://127.0.0.1:{free_port()}"})
        case "no database":
            expected = {("GET", "/api/conversations", 503), ("GET", "/api/ready", 503)}
        case "no admin":
            expected = {("POST", "/api/models/swap", 403)}
    options = ["--phases", "coverage"]
    options += ["--exclude-checks", "not_a_server_error,positive_data_acceptance,unsupported_method"]
    port = free_port()
    async with Service(quiet(settings), port=port) as service:
        if trouble == "no database":
            await sql.execute("drop schema public cascade")
            # Sending a message waits for a while until its worker's lease can be renewed.
            options += ["--exclude-path-regex", "(messages|regenerate|continue|tool_results)$"]
        await schemathesis(tmp_path, port, headers, *options)
        assert expected <= await answered(service)
