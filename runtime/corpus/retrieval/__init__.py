"""Index an encoded corpus, search it, and answer questions from it."""
