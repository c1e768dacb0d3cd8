"""Every op's device form on small cases, each compared with the CPU: what compute-sanitizer watches.

python -m bench.gpu.short [--emulated] [OP]...
"""

import sys

from mammofast.profiling.device.card import Card, UntimedCard
from mammofast.profiling.ops.device import OPS, builders


def main(arguments: list[str]) -> int:
    """Run the cases of the ops named, or of all; return how many ops failed, or gave another result than the CPU."""
    if "--emulated" in arguments:
        from bench.gpu.emulated import emulated_card

        card: Card = emulated_card()
    else:
        # By its own, without torch: nothing runs on the card but the kernels that are looked at.
        card = UntimedCard(alone=True)
    wrong = 0
    for op in [each for each in arguments if not each.startswith("-")] or OPS:
        try:
            for name, build in builders(op, small=True).items():
                build(card, name).check()
                print(f"{name}: equal to the CPU", flush=True)
        except Exception as error:  # the other ops are of use without this one
            print(f"{op}: {type(error).__name__}: {error}", flush=True)
            wrong += 1
    print(f"{card.name}: all equal to the CPU" if not wrong else f"{card.name}: {wrong} ops are not", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
