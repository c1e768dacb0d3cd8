import sys
from pathlib import Path

from tests.ops.backends import cuda_on_host

__all__ = ["cuda_on_host"]

# Behind the installed package: the source tree's own mammofast need have no extension.
sys.path.append(str(Path(__file__).parents[2]))
