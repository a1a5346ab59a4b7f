"""Server processes, one or several under a supervisor: where they listen, and how they end."""
