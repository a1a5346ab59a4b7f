"""What surrounds every handler: middlewares, the caller's address, request bodies, static files."""
