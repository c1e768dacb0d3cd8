"""The kernels' own source compiled for the host, in the place of a card: no figures, only the path and the results.

python -m bench.gpu.emulated                   build it
python -m bench.gpu.emulated OP --json FILE    small cases as `mammofast bench ops OP --device cuda` records them
"""

import sys

from bench.harness import ROOT, parse_arguments
from mammofast.ops import _native
from mammofast.profiling.device.card import UntimedCard
from mammofast.profiling.environment import environment
from mammofast.profiling.ops.device import NOTES, OPS, PACKAGES, op_cases
from mammofast.profiling.record import Record
from mammofast.profiling.sampling import Effort

_BRIEF = Effort(warm_up=0, seconds=1e-3, at_least=2)
_FOLDER = ROOT / ".pytest_cache" / "d" / "cuda_on_host"  # where the tests have it built


def emulated_card() -> UntimedCard:
    """Build what has changed, let it take the place of the extension, and return the card it pretends to be."""
    from tests.cuda_on_host import build

    sys.modules[build.NAME] = build.load(build.build(_FOLDER))
    _native._load_cuda.cache_clear()
    return UntimedCard(emulated=True, torch_device="cpu")


def main() -> None:
    """Build; measure the op that is asked for."""
    options = parse_arguments(__doc__, [("op", {"nargs": "?", "choices": OPS})])
    card = emulated_card()
    if options.op is not None:
        cases = tuple(op_cases([options.op], _BRIEF, card, None, small=True))
        record = Record("ops", "emulated", environment(PACKAGES) | {"card": card.name}, cases, notes=NOTES)
        record.write(options.json)
    print(f"{card.name}, emulated")


if __name__ == "__main__":
    main()
