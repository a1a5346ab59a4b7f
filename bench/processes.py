"""The processes that a measurement needs: the neighbours, the service and nginx. Each ends with its block."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def process(arguments: list[str], port: int, *, path: str = "/api/health", **more: Any) -> Iterator[int]:
    """Run a server while the block runs, and yield its process id once it answers."""
    running = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, **more)
    try:
        deadline = time.monotonic() + 30
        while not answers(port, path):
            if running.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{arguments[0]} does not answer on port {port}")
            time.sleep(0.01)
        yield running.pid
    finally:
        running.terminate()
        running.wait(30)


def answers(port: int, path: str) -> bool:
    """Return whether a server answers on the port, with anything but a 5xx."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1) as answer:
            return bool(answer.status < 500)
    except OSError as error:
        return getattr(error, "code", 500) < 500


@contextlib.contextmanager
def neighbours(tokens: int, rate: float) -> Iterator[int]:
    """Run the paced model server and auth service, and yield its port."""
    port = free_port()
    command = [sys.executable, "-m", "bench.neighbours", str(port)]
    with process([*command, "--tokens", str(tokens), "--rate", str(rate)], port):
        yield port


@contextlib.contextmanager
def service(database_url: str, neighbours_port: int) -> Iterator[tuple[int, int]]:
    """Run `chat-api serve` with its defaults, and yield its port and process id."""
    port, url = free_port(), f"http://127.0.0.1:{neighbours_port}"
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "AUTH_SERVICE_URL": url,
        "INFERENCE_SERVICE_URL": url,
        "INTERNAL_API_KEY": "bench",
    }
    command = [sys.executable, "-m", "chat_api", "serve", "--port", str(port)]
    with process(command, port, env=environment, stderr=subprocess.DEVNULL) as pid:
        yield port, pid


@contextlib.contextmanager
def floor(kind: str, *arguments: object) -> Iterator[tuple[int, int]]:
    """Run a relay or handler of `bench.floor`, and yield its port and process id."""
    port = free_port()
    command = [sys.executable, "-m", "bench.floor", kind, str(port), *map(str, arguments)]
    with process(command, port) as pid:
        yield port, pid


@contextlib.contextmanager
def nginx(folder: Path, neighbours_port: int) -> Iterator[tuple[int, int]]:
    """Run nginx as a plain proxy for the model server, and yield its port and process id."""
    port = free_port()
    template = (Path(__file__).parent / "nginx.conf").read_text()
    (folder / "nginx.conf").write_text(
        template.replace("MODEL_PORT", str(neighbours_port)).replace("OWN_PORT", str(port))
    )
    command = [nginx_program(), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "error.log"]
    with process(command, port) as pid:
        yield port, pid


def nginx_program() -> str:
    """Find nginx, which Debian installs in a folder that only root's PATH has."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise SystemExit("nginx is not installed: make packages, or apt install nginx")
    return program


def nginx_version() -> str:
    """Return nginx's name and version."""
    told = subprocess.run([nginx_program(), "-v"], capture_output=True, text=True, check=True).stderr
    return told.strip().removeprefix("nginx version: ")


def load(port: int, pid: int, **options: object) -> dict[str, Any]:
    """Run `bench.load` with these options, and return what it prints."""
    arguments = []
    for name, value in options.items():
        if value is not False:
            arguments += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", str(port), str(pid), *arguments],
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result
