"""`chat-api user` and `chat-api retention`: what is stored of whom and for how long, for operators."""
