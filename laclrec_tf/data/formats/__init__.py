"""Formats of the files of events: layouts of text, tables of text, and JSON Lines."""
