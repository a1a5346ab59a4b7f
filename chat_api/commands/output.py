"""The output of commands: what happens if its reader leaves or the disk is full."""

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
    """Run a command that writes to standard output. Returns its exit status. Raises FailedError."""
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
        raise FailedError(f"cannot write all of it to standard output: {error.strerror}") from error


def discard_output() -> None:
    """Redirect standard output to nothing, because the interpreter flushes it once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
