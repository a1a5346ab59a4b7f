"""Looking at processes that aren't children of the test."""

import subprocess
import sys
import time
from pathlib import Path

_LINUX = sys.platform == "linux"
_EXITING = 0x4  # PF_EXITING of Linux's include/linux/sched.h


def parents(*, ending: bool = True) -> dict[int, int]:
    """Maps the id of each living process to that of its parent.

    `ending` includes those that the system is taking down. It closes their files one by one, so a process at
    the other end of a pipe may notice before they have ended. Only Linux can distinguish them.
    """
    if not _LINUX:
        listing = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
        ).stdout
        rows = [line.split() for line in listing.splitlines()]
        return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, parent, *_, flags = (entry / "stat").read_text().rpartition(") ")[2].split()[:7]
        except OSError:
            continue
        if state != "Z" and (ending or not int(flags) & _EXITING):
            found[int(entry.name)] = int(parent)
    return found


def descendants(pid: int) -> set[int]:
    """The children of `pid`, and their descendants."""
    tree = parents()
    found: set[int] = set()
    new = {pid}
    while new:
        new = {child for child, parent in tree.items() if parent in new} - found
        found |= new
    return found


def command_line(pid: int) -> str:
    """The command of a process."""
    if _LINUX:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    ps = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(ps, capture_output=True, text=True, check=True).stdout


def wait_for_end(pids: set[int], seconds: float = 10) -> None:
    """Wait until none of `pids` lives. They may not be children of the test, so this has to poll."""
    deadline = time.monotonic() + seconds
    while living := pids & parents().keys():
        assert time.monotonic() < deadline, f"still there: {[command_line(pid) for pid in living]}"
        time.sleep(0.02)
