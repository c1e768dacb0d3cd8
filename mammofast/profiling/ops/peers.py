"""Other libraries' ways: taken where their packages are installed, named where they are not."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

from mammofast.profiling.contest import Way


@dataclass(frozen=True, slots=True)
class Peer:
    """A way that needs packages. needs: import names. prepare: from the problem's arguments to a call on them."""

    name: str
    needs: tuple[str, ...]
    prepare: Callable[..., Way]

    @property
    def is_installed(self) -> bool:
        """Whether all that it needs can be imported."""
        return all(find_spec(package) is not None for package in self.needs)


def peer(name: str, needs: tuple[str, ...], way: Callable[..., Any], agrees: Callable[[Any, Any], bool]) -> Peer:
    """Return a peer whose way takes the problem's arguments as they are."""
    return Peer(name, needs, lambda *problem: Way(partial(way, *problem), agrees))


def beside(peers: Iterable[Peer], *problem: Any) -> tuple[dict[str, Way], tuple[str, ...]]:
    """Return the ways of the peers that are installed, on one thread, and the names of those that are not."""
    peers = tuple(peers)
    ways = {}
    for each in peers:
        if each.is_installed:
            _one_thread(each.needs)
            ways[each.name] = each.prepare(*problem)
    return ways, tuple(each.name for each in peers if not each.is_installed)


def _one_thread(packages: tuple[str, ...]) -> None:
    if "cv2" in packages:
        import cv2

        cv2.setNumThreads(1)
    if "torch" in packages:
        import torch

        torch.set_num_threads(1)
