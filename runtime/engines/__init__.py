"""Engines: one session class a file behind one protocol, and what they share."""
