"""Commands that print: what happens when nobody reads their output, or the disk is full."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable

from chat_api.commands.errors import FailedError

UNREAD = 128 + 13  # as a shell reports that SIGPIPE ended a command
DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def print_result(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a command that writes to the standard output; its exit status. Raises FailedError."""
    try:
        status = command(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader has left, as `head` does
        discard_output()
        return UNREAD
    except OSError as error:
        if error.errno not in DISK_TROUBLE:
            raise
        discard_output()
        raise FailedError(f"cannot write all of it to the standard output: {error.strerror}") from error


def discard_output() -> None:
    """Point the standard output at nothing: the interpreter flushes it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
