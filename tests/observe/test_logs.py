"""Log lines that can't be written, or contain values that JSON can't."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator

import pytest
import structlog

from chat_api.observe.logs import configure_logging
from chat_api.settings import Settings


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    """Logging as in the service's own process, restored after the test."""
    root = logging.getLogger()
    handlers, level, before = root.handlers, root.level, structlog.get_config()
    hook = sys.excepthook
    configure_logging(Settings(_env_file=None, log_format="json"))
    yield
    sys.excepthook = hook
    logging.captureWarnings(False)
    root.handlers, root.level = handlers, level
    structlog.configure(**before)


@pytest.mark.parametrize("closed", [False, True], ids=["broken", "closed"])
def test_who_says_something_that_nobody_takes_goes_on(monkeypatch: pytest.MonkeyPatch, closed: bool) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    if closed:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        structlog.get_logger("test").warning("lost")
    finally:
        with contextlib.suppress(BrokenPipeError):
            stream.close()


@pytest.mark.parametrize("value", ["\udcff", 2**64, {"a": 2**70}])
def test_what_json_can_not_hold_comes_in_another_form(
    capsys: pytest.CaptureFixture[str], value: object
) -> None:
    structlog.get_logger("test").warning("odd", value=value)
    assert json.loads(capsys.readouterr().err)["value"] == value
