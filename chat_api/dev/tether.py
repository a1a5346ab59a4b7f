"""Run a command that ends when the process that started it ends, even by `kill -9`.

This file is also a program: `python -I -S tether.py STARTER-PID SIGNAL USER GROUP COMMAND…` ties itself to
its starter, then becomes the command, with the same process id. A separate program is needed because the
other two ways don't work. `Popen`'s `preexec_fn` may deadlock if there are threads. A change of user undoes
the tie (prctl(2), PR_SET_PDEATHSIG), and `Popen(user=…)` changes it last. It imports nothing from this
package, so it starts in some 20 ms.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
NOT_EXECUTABLE = 126  # a shell's exit status for a file that it can't execute


def tethered(
    command: Sequence[str], ending: signal.Signals, user: tuple[int, int] | None = None
) -> list[str]:
    """The arguments for `Popen` that run `command` as `user` (uid, gid; root only) until this process ends.

    When this process ends, the command gets the signal `ending`. Linux sends it when the *thread* that called
    `Popen` ends, so call `Popen` from a thread that lives long enough. On other systems nothing is tied, and
    the caller must end the command at exit.
    """
    uid, gid = user or (-1, -1)
    numbers = [str(number) for number in (os.getpid(), int(ending), uid, gid)]
    return [sys.executable, "-I", "-S", __file__, *numbers, *command]


def _become(starter: int, ending: int, uid: int, gid: int, command: list[str]) -> NoReturn:
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if libc is not None:
        if libc.prctl(_PR_SET_PDEATHSIG, ending, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != starter:  # it ended before it could be tied
            sys.exit(1)
    try:
        os.execv(command[0], command)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(NOT_EXECUTABLE)


if __name__ == "__main__":
    _starter, _ending, _uid, _gid = (int(number) for number in sys.argv[1:5])
    _become(_starter, _ending, _uid, _gid, sys.argv[5:])
