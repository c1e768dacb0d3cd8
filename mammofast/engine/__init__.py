"""Compiled networks: load, run on a batch, close. One file per backend."""

from mammofast.engine.base import Engine, TensorSpec, load_engine

__all__ = ["Engine", "TensorSpec", "load_engine"]
