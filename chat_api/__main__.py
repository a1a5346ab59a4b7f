"""`python -m chat_api` is `chat-api`."""

import sys

from chat_api.cli import main

sys.exit(main())
