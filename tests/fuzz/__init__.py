"""The API and its description held together, by thousands of made-up requests and frames: `make test-api`."""
