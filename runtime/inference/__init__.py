"""The three models: inputs checked, rows batched, an engine chosen, outputs turned into vectors and answers."""
