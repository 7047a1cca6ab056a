"""Benchmarks next to what a user would pick instead: each module with a `main` is a command; harness/ is shared.

The *_parts, *_tables and *_jobs modules belong to the command of their first word.
"""
