"""What operators see of a running service: log lines, metrics, the event loop's lag."""
