"""The WebSocket: one connection for all of a user's conversations."""
