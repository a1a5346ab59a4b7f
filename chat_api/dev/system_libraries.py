"""The shared library that the local model needs and pip can't install.

This file is also a program, so that make can check before pip fetches anything: `python system_libraries.py`
with the arguments of `chat-api dev`. It imports nothing from this package.
"""

import ctypes
import sys

# The model server's wheels for Linux rely on the system for the compiler's OpenMP library. Those for macOS
# don't need it.
NEEDED = "libgomp.so.1"


def what_is_missing() -> str | None:
    """Say in one sentence what is missing and which command installs it. None if nothing is missing."""
    if sys.platform != "linux":
        return None
    try:
        ctypes.CDLL(NEEDED)
    except OSError:
        return (
            f"{NEEDED} is missing, which the local model needs: apt install libgomp1 (Debian, Ubuntu), "
            "dnf install libgomp (Fedora), or use another model server with --inference-url URL"
        )
    return None


def main(arguments: list[str]) -> None:
    """Exit with status 1 and the sentence if `chat-api dev` with these arguments would lack the library."""
    # argparse accepts abbreviations too.
    local_model = not any(word.startswith("--inf") for word in arguments)
    if local_model and (sentence := what_is_missing()):
        sys.exit(f"chat-api dev: {sentence}")


if __name__ == "__main__":
    main(sys.argv[1:])
