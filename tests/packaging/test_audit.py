"""`make audit` reports what is known, and never calls a package clean that it could not check."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tools import audit

VULNERABLE = {"id": "PYSEC-2026-1", "fix_versions": ["2.0"], "aliases": ["CVE-2026-1"], "description": "bad"}
GOOD = {"name": "six", "version": "1.17.0", "vulns": []}
BAD = {"name": "yarl", "version": "1.25.1", "vulns": [VULNERABLE]}
SKIPPED = {"name": "odd", "skip_reason": "Dependency not found on PyPI and could not be audited: odd (1.0)"}
NPM_GOOD: dict[str, Any] = {"vulnerabilities": {}}
VIA = {"title": "XSS", "url": "https://github.com/advisories/GHSA-1"}
NPM_BAD = {"vulnerabilities": {"marked": {"via": [VIA, "another"]}}}
NPM_REFUSED = {"message": "405 Method Not Allowed", "error": {"summary": ""}}


# Recorded output of the programs, because a test can't choose which advisories exist.
@pytest.mark.parametrize(
    ("packages", "npm", "status", "expected"),
    [
        ([GOOD], NPM_GOOD, 0, "5 packages without advisories, 0 advisories, 0 unchecked"),
        ([GOOD, BAD], NPM_GOOD, 1, "KNOWN      yarl 1.25.1: PYSEC-2026-1, CVE-2026-1; fixed in 2.0"),
        ([GOOD], NPM_BAD, 1, "XSS (https://github.com/advisories/GHSA-1)"),
        ([GOOD, SKIPPED], NPM_GOOD, 2, "UNCHECKED  odd: Dependency not found"),
        ([BAD, SKIPPED], NPM_GOOD, 1, "UNCHECKED  odd: Dependency not found"),
        ([GOOD], NPM_REFUSED, 2, "UNCHECKED  npm audit: 405 Method Not Allowed"),
        (None, NPM_GOOD, 2, "UNCHECKED  pip-audit: ConnectionError: refused"),
    ],
)
def test_only_what_was_asked_about_counts_as_clean(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    packages: list[Any] | None,
    npm: dict[str, Any],
    status: int,
    expected: str,
) -> None:
    def answer(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if command[0] != "npm":
            known = any(each.get("vulns") for each in packages or ())
            text = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
            return subprocess.CompletedProcess(
                command, int(packages is None or known), text, "Traceback …\nConnectionError: refused\n"
            )
        if "audit" in command:
            return subprocess.CompletedProcess(command, int(npm is not NPM_GOOD), json.dumps(npm), "")
        return subprocess.CompletedProcess(command, 0, '{"added": 4}', "")

    monkeypatch.setattr(subprocess, "run", answer)
    assert audit.main([]) == status
    assert expected in capsys.readouterr().out


def test_without_the_programs_nothing_is_called_clean(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(command: list[str], **_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", command[0])

    monkeypatch.setattr(subprocess, "run", missing)
    assert audit.main([]) == 2
    assert capsys.readouterr().out.endswith("0 packages without advisories, 0 advisories, 3 unchecked\n")
