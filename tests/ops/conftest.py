from tests.ops.backends import backend, cuda_on_host, device_backend, no_cuda_kernels

__all__ = ["backend", "cuda_on_host", "device_backend", "no_cuda_kernels"]
