"""`chat-api hold`: what must be kept, whatever else says that it goes."""
