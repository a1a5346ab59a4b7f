"""`chat-api sql`: the named queries, for those who look after the database."""
