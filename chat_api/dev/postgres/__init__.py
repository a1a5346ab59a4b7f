"""The embedded PostgreSQL server of the development stack."""
