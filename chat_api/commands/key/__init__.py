"""`chat-api key`: API keys for programs."""
