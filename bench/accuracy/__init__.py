"""How good the demo bundle is on phantoms it never saw, beside a classical detector and its own single scales."""
