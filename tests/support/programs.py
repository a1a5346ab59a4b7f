"""Programs that the tests want and pip can't install."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def program(name: str, installed_by: str | None = None) -> str:
    """Return the path of a program. Where the machine lacks it, the test is skipped, or fails on CI."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        missing(f"{name} is not installed: {installed_by or f'make packages, brew install {name}'}")
    return found


def chromium() -> str:
    """Return the path of the browser: Debian's Chromium, or the program that CHROMIUM names."""
    return os.environ.get("CHROMIUM") or program(
        "chromium", "make browser, or name another with CHROMIUM=..."
    )


def missing(what: str) -> NoReturn:
    """Skip the test and give the reason; on CI, where everything is installed, fail it."""
    if "CI" in os.environ:
        pytest.fail(what)
    pytest.skip(what)
