"""Background work for all workers: every one ends orphans, the oldest one cleans."""
