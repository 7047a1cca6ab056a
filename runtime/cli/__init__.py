"""The command `dpr-runtime`, and what it prints."""
