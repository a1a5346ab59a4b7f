"""Who may ask, and how often: tokens, rate limits, failed sign-ins."""
