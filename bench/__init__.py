"""Measurements of what the service costs; see README.md."""
