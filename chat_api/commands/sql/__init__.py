"""`chat-api sql`: the named queries, for the people who run the database."""
