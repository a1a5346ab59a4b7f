"""The development stack: everything that `chat-api dev` needs on one machine. Deployments use none of it.

Only the `dev` command and the tests import this package. The tests use its PostgreSQL launcher.
"""
