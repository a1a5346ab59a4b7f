"""One module for each product whose exports are read: parsed JSON becomes a conversation."""
