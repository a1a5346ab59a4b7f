"""Who may ask: tokens, and how many may fail. The rate of sending is checked in SQL: generation/limits.py."""
