"""The development stack: everything `chat-api dev` needs on one machine, and nothing that a deployment
uses.

Nothing outside this package imports it but the `dev` command and the tests, which borrow the PostgreSQL
launcher.
"""
