"""The local model: its file, its server, and which protocol another server speaks."""
