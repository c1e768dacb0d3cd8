"""PyTorch: the networks as they are, on the CPU or a card; what the other backends are compared with."""
