"""The commands of `chat-api`: a module or a package for each."""
