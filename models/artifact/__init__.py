"""The exported folder: its manifest, its files, the table of variants, and how it is found and written."""
