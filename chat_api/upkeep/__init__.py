"""Background work for all workers: every one ends orphans and sends what waits, the oldest one cleans."""
