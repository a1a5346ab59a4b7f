"""Compares the API with its description, by thousands of generated requests and frames: `make test-api`."""
