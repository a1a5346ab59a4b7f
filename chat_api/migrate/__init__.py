"""Migrations: apply them, report what is pending, and name who holds a lock."""
