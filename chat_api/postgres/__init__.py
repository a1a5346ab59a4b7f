"""PostgreSQL: its connections, the named queries of `sql/`, and a DBA's session."""
