"""What a pass raises when the graph it would write is not the one it promises."""


class QuantizationError(RuntimeError):
    """A graph cannot be fused, converted or quantized as asked. The message is one line for people."""
