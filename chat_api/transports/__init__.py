"""The transports, server-sent events and the WebSocket: thin encoders over the same events."""
