"""Programs for developers, each of them a target of the Makefile."""
