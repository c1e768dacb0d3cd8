"""Compiled networks: load, run on a batch, close. One file per backend."""

from mammofast.engine.base import Engine, TensorSpec, backends, check_precision, load_engine

__all__ = ["Engine", "TensorSpec", "backends", "check_precision", "load_engine"]
