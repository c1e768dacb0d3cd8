"""What this machine's cores can do at most: multiply-adds in registers, no memory, all lanes busy."""

from concurrent.futures import ThreadPoolExecutor

from mammofast.ops._native import kernels

_SECONDS = 0.1
_ROUNDS = 3


def ceiling_gflops(precision: str, threads: int) -> float | None:
    """Return 10⁹ floating-point operations per second of some threads at once (a multiply-add is two).

    The best of three short rounds: what else runs can only take away from it. None where the cores have no instruction
    for that precision ("fp32", "bf16"), or none that is measured here.
    """
    if precision not in ("fp32", "bf16"):
        return None
    rate = kernels().peak_rate
    with ThreadPoolExecutor(threads) as pool:
        rounds = [list(pool.map(rate, [precision] * threads, [_SECONDS] * threads)) for _ in range(_ROUNDS)]
    if rounds[0][0] is None:
        return None
    return float(max(2 * sum(rates) / 1e9 for rates in rounds))
