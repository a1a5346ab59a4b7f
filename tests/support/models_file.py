"""A MODELS_FILE that a test writes, and writes anew while the service runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chat_api.http.context import INFERENCE
from chat_api.settings import Settings
from tests.support.chat import Client

Table = dict[str, Any]


@dataclass
class ModelsFile:
    """Its servers and models by name, each with its keys. `client`: the running service."""

    path: Path
    servers: dict[str, Table] = field(default_factory=dict)
    models: dict[str, Table] = field(default_factory=dict)
    client: Client | None = None

    def write(self) -> None:
        """Write the file; a service that runs reads it."""
        tables = {"servers": self.servers, "models": self.models}
        self.path.write_text(
            "\n".join(
                f"[{kind}.{json.dumps(name)}]\n" + "\n".join(f"{key} = {_toml(given[key])}" for key in given)
                for kind, all_of_it in tables.items()
                for name, given in all_of_it.items()
            )
        )
        if self.client is not None:
            self.client.app[INFERENCE].reload()

    def settings(self, settings: Settings, **update: Any) -> Settings:
        """Settings that name it. Writes it first."""
        self.write()
        return settings.model_copy(update={"models_file": str(self.path), **update})


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)
