"""Measure retrieval accuracy, exact match and F1 on labelled questions."""
