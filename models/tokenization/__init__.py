"""Text to rows of token ids, and back: the three DPR tokenizers."""
