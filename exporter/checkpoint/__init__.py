"""Find a checkpoint, and load it into the transformers class that its configuration names."""
