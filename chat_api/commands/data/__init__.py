"""`chat-api user` and `chat-api retention`: what is stored about whom, and for how long, for operators."""
