"""The papers' networks in PyTorch. The list of them needs no PyTorch; building one needs the extra [torch]."""

from mammofast.models.catalogue import Entry, create, find, names

__all__ = ["Entry", "create", "find", "names"]
