"""The local model, its file and its server; and which protocol another model server speaks."""
