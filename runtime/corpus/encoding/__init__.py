"""Encode a corpus into a folder of shards, on one machine or many."""
