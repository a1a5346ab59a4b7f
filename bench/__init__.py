"""What the service costs, and how to measure it again."""
