"""How images become findings: one file per paper's way, over the same stages and ops."""
