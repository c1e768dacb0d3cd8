"""A small pipeline in the shape of P4's, on integers, and what comes of an image worked out by plain loops."""

from dataclasses import dataclass, field

from mammofast.errors import BrokenImage, Reason
from mammofast.pipeline.stage import Stage

STAGES = ("read", "upload", "detect", "fuse", "segment", "record")
MANY = 101


@dataclass(frozen=True)
class Image:
    """scales, candidates: how many units it has in `detect` and in `segment`. size: bytes it holds."""

    name: int
    scales: int = 3
    candidates: int = 2
    size: int = 10


@dataclass(frozen=True)
class Item:
    image: Image
    value: int
    found: tuple = ()


def truth(image):
    """What comes out for an image, by hand."""
    value = (image.name * 3 + 1) * 5
    scales = [(value * 7 + scale) % MANY for scale in range(image.scales)]
    fused = sum(scales)
    masks = tuple((fused * 11 + candidate) % MANY for candidate in range(image.candidates))
    return (image.name, fused, masks)


def words(reason):
    return str(BrokenImage(*reason)) if isinstance(reason, tuple) else reason


NAN = str(BrokenImage(Reason.NOT_FINITE, "the network gave NaN"))


def one(function):
    return lambda units: [function(unit) for unit in units]


def stages(around=lambda name, work: work, **changes):
    """The toy's stages. around: wraps each stage's work. changes: by stage, what differs in it (batch, workers ...)."""
    given = {
        "read": {"work": one(lambda image: Item(image, image.name * 3 + 1))},
        "upload": {"work": one(lambda item: Item(item.image, item.value * 5)), "device": True},
        "detect": {
            "split": lambda item: [(item, scale) for scale in range(item.image.scales)],
            "key": lambda unit: unit[1],
            "work": one(lambda unit: (unit[0].value * 7 + unit[1]) % MANY),
            "join": lambda item, found: Item(item.image, item.value, tuple(found)),
            "device": True,
        },
        "fuse": {"work": one(lambda item: Item(item.image, sum(item.found)))},
        "segment": {
            "split": lambda item: [(item, candidate) for candidate in range(item.image.candidates)],
            "work": one(lambda unit: (unit[0].value * 11 + unit[1]) % MANY),
            "join": lambda item, found: Item(item.image, item.value, tuple(found)),
            "device": True,
        },
        "record": {"work": one(lambda item: (item.image.name, item.value, item.found))},
    }
    return [
        Stage(name=name, **{**own, "work": around(name, own["work"]), **changes.get(name, {})})
        for name, own in given.items()
    ]


def image_of(unit):
    """The image that a unit of any stage is of."""
    unit = unit[0] if isinstance(unit, tuple) else unit
    return unit if isinstance(unit, Image) else unit.image


@dataclass
class Calls:
    """Writes down who shared each call of each stage."""

    made: list = field(default_factory=list)

    def __call__(self, name, work):
        def watched(units):
            self.made.append((name, tuple(image_of(unit).name for unit in units)))
            return work(units)

        return watched

    def of(self, name):
        return [names for stage, names in self.made if stage == name]
