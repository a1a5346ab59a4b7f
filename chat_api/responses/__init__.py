"""OpenAI's Responses API in terms of the service's own events, messages and requests: pure functions."""
