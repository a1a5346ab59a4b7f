"""One run of the model for one answer: its start, its life, and where its readers continue."""
