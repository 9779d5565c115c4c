"""NVIDIA's GPUs: TensorRT, and ONNX Runtime's providers for them."""
