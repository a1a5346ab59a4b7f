"""The transports: thin encoders over the same events."""
