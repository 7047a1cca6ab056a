"""What a DPR model is: its kinds, configuration, outputs, tokenizers, and the exported folder."""
