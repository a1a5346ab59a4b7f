"""PostgreSQL: the pool, the named queries of `sql/`, and a DBA's session."""
