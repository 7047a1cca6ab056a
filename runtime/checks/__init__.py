"""Checks of exported folders: parity with reference outputs, verify, pack, and TensorRT engines built and compared."""
