"""Trace a PyTorch model into ONNX, check its weights, and compute its reference outputs."""
