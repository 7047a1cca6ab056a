"""Push an exported folder to the Hugging Face hub, with a model card."""
