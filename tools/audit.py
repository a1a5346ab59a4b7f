"""Looks for security advisories on the pinned packages and on the page's libraries: `make audit`.

pip-audit checks constraints.txt, and npm checks each vendor.json, against the advisories of their registries.
Exit status 0: every package was checked, and none has an advisory. 1: at least one advisory was found.
2: some packages could not be checked, and no advisory was found for the others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
VENDORED = (
    ROOT / "chat_api" / "web" / "vendor" / "vendor.json",
    ROOT / "chat_api" / "description" / "page" / "vendor" / "vendor.json",
)
SECONDS = 600


@dataclass
class Findings:
    """What the audit found; each advisory, and each package that could not be checked, is one line."""

    known: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    clean: int = 0

    @property
    def status(self) -> int:
        """The exit status of `make audit`."""
        return 1 if self.known else 2 if self.unchecked else 0


def audit_python(options: list[str], found: Findings) -> None:
    """Check constraints.txt with pip-audit; `options` are further options for it."""
    command = [
        str(Path(sys.executable).with_name("pip-audit")),
        "--requirement",
        str(ROOT / "constraints.txt"),
    ]
    command += ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", *options]
    answer = _asked(command, "pip-audit", found)
    for package in answer.get("dependencies", ()):
        if "skip_reason" in package:
            found.unchecked.append(f"{package['name']}: {package['skip_reason']}")
            continue
        found.clean += not package["vulns"]
        for each in package["vulns"]:
            names = ", ".join([each["id"], *each["aliases"]])
            fixed = ", ".join(each["fix_versions"]) or "no version yet"
            found.known.append(f"{package['name']} {package['version']}: {names}; fixed in {fixed}")


def audit_javascript(found: Findings) -> None:
    """Check the vendored libraries with npm."""
    versions: dict[str, str] = {}
    for path in VENDORED:
        versions |= {name: each["version"] for name, each in json.loads(path.read_text()).items()}
    with tempfile.TemporaryDirectory() as folder:
        wanted = {"name": "vendored", "version": "1.0.0", "private": True, "dependencies": versions}
        Path(folder, "package.json").write_text(json.dumps(wanted))
        npm = ["npm", "--prefix", folder, "--ignore-scripts", "--no-fund"]
        _asked([*npm, "install", "--package-lock-only", "--no-audit", "--json"], "npm install", found)
        answer = _asked([*npm, "audit", "--json"], "npm audit", found)
    if "vulnerabilities" not in answer:
        return
    for name, each in answer["vulnerabilities"].items():
        for via in each["via"]:
            if isinstance(via, dict):  # otherwise it is the name of another package, which has its own entry
                found.known.append(f"{name} {versions.get(name, '')}: {via['title']} ({via['url']})")
    found.clean += len(versions.keys() - answer["vulnerabilities"].keys())


def _asked(command: list[str], name: str, found: Findings) -> dict[str, Any]:
    """Run a program and return the JSON it prints. If it prints none, note that in `found` and return {}."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "CI": "1"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        found.unchecked.append(f"{name}: {error}")
        return {}
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        answer = {}
    if done.returncode and not {"dependencies", "vulnerabilities"} & answer.keys():
        last = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[
            -1
        ]
        found.unchecked.append(f"{name}: {answer.get('message') or last}")
        return {}
    return answer


def main(options: list[str]) -> int:
    """Run both audits, print what they found, and return the exit status."""
    found = Findings()
    audit_python(options, found)
    audit_javascript(found)
    for line in found.known:
        sys.stdout.write(f"KNOWN      {line}\n")
    for line in found.unchecked:
        sys.stdout.write(f"UNCHECKED  {line}\n")
    known, unchecked = len(found.known), len(found.unchecked)
    sys.stdout.write(
        f"{found.clean} packages without advisories, {known} advisories, {unchecked} unchecked\n"
    )
    return found.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
