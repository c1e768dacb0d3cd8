"""Which networks there are: ``catalogue.json`` has one line for each, and a test counts every one of them again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mammofast.errors import ModelError

_FILE = Path(__file__).with_name("catalogue.json")


@dataclass(frozen=True, slots=True)
class Entry:
    """One network as its paper configures it.

    factory: "module:class" within ``mammofast.models``. options: what the class is built with.
    input: (channels, rows, cols) that ``gmac`` is counted at, the paper's size.
    parameters: trainable scalars. layers: convolutions, transposed ones too, and fully connected layers.
    gmac: multiply-adds of those layers in 10⁹, one image.
    output: what the network returns, see ``OUTPUTS``. paper: P1 to P5, or "-" for this project's own.
    source: where the network was published. headline: the paper's number for it. stated: what the paper says of its
    size. note: what was chosen where the paper leaves a choice.
    """

    name: str
    factory: str
    input: tuple[int, int, int]
    parameters: int
    layers: int
    gmac: float
    output: str
    paper: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    headline: str = ""
    stated: str = ""
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as JSON-ready values."""
        return asdict(self) | {"options": dict(self.options), "input": list(self.input)}


# What a network returns, by the entry's ``output``.
OUTPUTS = MappingProxyType(
    {
        "logits": "(n, classes, rows, cols): softmax over two classes and more, sigmoid of one",
        "probability": "(n, classes, rows, cols) in 0..1",
        "tanh": "(n, channels, rows, cols) in -1..1",
        "yolo": "raw heads of strides 8, 16 and 32",
        "rcnn": "proposals and their classes",
        "patches": "(n, 1, rows, cols): a discriminator's verdict on each patch",
    }
)


@cache
def _entries() -> Mapping[str, Entry]:
    rows = json.loads(_FILE.read_text(encoding="utf-8"))
    entries = [Entry(**(row | {"input": tuple(row["input"])})) for row in rows]
    return MappingProxyType({entry.name: entry for entry in entries})


def names() -> list[str]:
    """Return every network's name, by paper."""
    return list(_entries())


def find(name: str) -> Entry:
    """Return a network's entry.

    Raises
    ------
    ModelError
        When there is none of that name.

    """
    entries = _entries()
    if name not in entries:
        near = get_close_matches(name, entries, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ";"
        raise ModelError(f"no network is called {name!r}{hint} `mammofast models` lists them all")
    return entries[name]


def create(name: str, **options: Any) -> Any:
    """Build a network with random weights, as a ``torch.nn.Module``.

    Parameters
    ----------
    name: a name that ``mammofast models`` lists.
    options: what to build otherwise than the entry says; all networks take ``width``, a factor on every hidden channel
        count, and segmentation networks ``channels`` and ``classes``.

    Raises
    ------
    ModelError
        When there is no such network, or it has no such option.
    ImportError
        When PyTorch is missing: ``pip install "mammofast[torch]"``.

    """
    entry = find(name)
    module, _, factory = entry.factory.partition(":")
    try:
        kind = getattr(import_module(f"mammofast.models.{module}"), factory)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError('building a network needs PyTorch: pip install "mammofast[torch]"') from error
    try:
        return kind(**{**entry.options, **options})
    except (TypeError, ValueError) as error:
        raise ModelError(f"network {name!r} cannot be built with {options}: {error}") from error
