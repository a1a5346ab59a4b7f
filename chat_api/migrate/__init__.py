"""Migrations: apply them, report what is pending, and name the holders of locks."""
