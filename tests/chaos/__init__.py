"""Kills everything, and checks that nothing is lost: `make chaos`."""
