"""The exception that passes and recipes raise for a graph that they cannot convert."""


class QuantizationError(RuntimeError):
    """A graph cannot be fused, converted or quantized as asked. The message is one line for people."""
