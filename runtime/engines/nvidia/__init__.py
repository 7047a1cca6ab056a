"""Everything that only NVIDIA GPUs need: the CUDA session of ONNX Runtime, and TensorRT."""
