"""The servers' clock, set by libfaketime: Debian's package of that name."""

from __future__ import annotations

import shlex
from pathlib import Path

from chat_api.dev.postgres.installation import binaries, run_as

PATTERN = "lib/*/faketime/libfaketime.so.1"


def library() -> Path | None:
    """Where libfaketime is installed."""
    return next(iter(sorted(Path("/usr").glob(PATTERN))), None)


class Clock:
    """One for all servers that are started with `programs`, a folder beside `data_dir`."""

    def __init__(self, folder: Path, libfaketime: Path) -> None:
        self._offset = folder / "offset"
        self.set(0)
        self.programs = folder / "programs"
        self.programs.mkdir()
        for program in binaries(run_as(self.programs)).iterdir():
            if program.name != "postgres":
                (self.programs / program.name).symlink_to(program)
                continue
            wrapper = self.programs / program.name
            # Without the cache, all processes see a jump at the same time, as with a real clock.
            variables = {
                "LD_PRELOAD": libfaketime,
                "FAKETIME_TIMESTAMP_FILE": self._offset,
                "FAKETIME_NO_CACHE": 1,
                "FAKETIME_DONT_FAKE_MONOTONIC": 1,
            }
            assignments = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in variables.items())
            wrapper.write_text(f'#!/bin/sh\n{assignments} exec {shlex.quote(str(program))} "$@"\n')
            wrapper.chmod(0o755)

    def set(self, seconds: float) -> None:
        """Let the clock be so far ahead, or behind if negative, from now on."""
        new = self._offset.with_suffix(".new")
        new.write_text(f"{seconds:+.3f}\n")
        new.rename(self._offset)  # at once: a server never reads half of it
