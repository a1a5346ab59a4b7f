"""The standard streams of this process, some of which its parent may have closed."""

from __future__ import annotations

import os
import sys

STDIN, STDOUT, STDERR = range(3)


def open_closed_streams() -> None:
    """Open /dev/null in the place of each standard stream that is closed.

    Otherwise the next file or socket would get its descriptor, and with it what this process, a library or a
    child writes to the stream.
    """
    for descriptor in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest descriptor that is free: this one
            os.set_inheritable(descriptor, True)  # workers have it, too
            if descriptor == STDOUT:
                sys.stdout = open(STDOUT, "w", closefd=False)  # noqa: SIM115
            elif descriptor == STDERR:
                sys.stderr = open(STDERR, "w", closefd=False)  # noqa: SIM115
