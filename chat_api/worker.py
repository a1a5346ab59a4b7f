"""The name by which a supervisor of an earlier release starts the workers of this one (on SIGHUP)."""

import sys

from chat_api.serving.worker import main

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
