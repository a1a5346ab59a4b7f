"""Starts a worker for a supervisor of an earlier release, which still uses this name (on SIGHUP)."""

import sys

from chat_api.serving.worker import main

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
