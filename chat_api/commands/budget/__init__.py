"""`chat-api budget`: what may be used of tokens, money and answers."""
