"""From a network in PyTorch or ONNX to an engine that was compared with it. Needs the extra [torch]."""
