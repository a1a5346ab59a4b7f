"""`chat-api models`: whether the model servers do what MODELS_FILE, or the environment, says of them."""
