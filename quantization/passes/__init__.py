"""Graph passes: fusion, FP16, INT8 for each engine."""
