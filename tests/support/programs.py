"""Programs that the tests need and pip can't install."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def program(name: str, installed_by: str | None = None) -> str:
    """Return the path of a program. If it is missing, the test is skipped, or fails on CI."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        missing(f"{name} is not installed: {installed_by or f'make packages, brew install {name}'}")
    return found


def chromium() -> str:
    """Return the path of the browser: Debian's Chromium, without windows, or what CHROMIUM names."""
    return os.environ.get("CHROMIUM") or program(
        "chromium-headless-shell", "make browser, or name another with CHROMIUM=/usr/bin/..."
    )


def missing(what: str) -> NoReturn:
    """Skip the test and give the reason; on CI, where everything is installed, fail it."""
    if "CI" in os.environ:
        pytest.fail(what)
    pytest.skip(what)
