from tests.ops.backends import cuda_on_host

__all__ = ["cuda_on_host"]
