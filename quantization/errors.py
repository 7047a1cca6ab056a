"""The error of passes and recipes."""


class QuantizationError(RuntimeError):
    """A graph cannot be fused, converted or quantized as asked. The message is one line for people."""
