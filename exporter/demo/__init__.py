"""Three small trained models, and passages to try them on, for first steps without a hub."""

from pathlib import Path

PASSAGES_FILE = Path(__file__).with_name("passages.jsonl")
QUESTION = "Who led the building of the Suez Canal?"
