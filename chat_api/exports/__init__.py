"""Exports: their first and last line, Markdown and JSON of one, names of files, how many at once."""
