"""The exported folder: its manifest, its files and variants, and how it is found, read and written."""
