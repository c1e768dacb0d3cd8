"""How well a bundle does on phantoms it was not trained on, through the very pipeline that screens archives."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mammofast.evaluation import dice, froc, label_boxes, match_boxes
from mammofast.methods.arrays import ArrayImage
from mammofast.methods.screener import open_bundle
from mammofast.phantom.display import Display
from mammofast.phantom.plan import PlannedView
from mammofast.phantom.studies import DISPLAY_STREAM
from mammofast.records import GreyPipeline, GreyTable

# The false positives per image that the bundle's target allows.
_LIMIT = 0.30


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomImage(ArrayImage):
    """A phantom view in memory: stored values, what they show, and its truth."""

    table: GreyTable
    truth: npt.NDArray[np.uint8]

    @classmethod
    def make(cls, planned: PlannedView) -> "PhantomImage":
        """Render a planned view."""
        view = planned.draw()
        display = Display.draw(planned.stream(DISPLAY_STREAM))
        return cls(display.store(view.render()), table=GreyTable(0, display.shown()), truth=view.truth())

    def grey_table(self, pipeline: GreyPipeline) -> GreyTable:
        """Return the display's own table, whatever the pipeline."""
        return self.table


@dataclass(frozen=True, slots=True)
class Measures:
    """images, masses: how many. sensitivity, fp_per_image: with all findings. sensitivity_at_limit: at the most
    findings, by falling confidence, that keep fp_per_image <= 0.30. dice_mean: of whole images that hold a mass.
    """

    images: int
    masses: int
    sensitivity: float
    fp_per_image: float
    sensitivity_at_limit: float
    dice_mean: float

    def as_dict(self) -> dict[str, float]:
        """Return JSON-ready values, rounded."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def measure(
    bundle: Path | str, views: Iterable[PlannedView], advance: Callable[[int], None] = lambda n: None
) -> Measures:
    """Screen phantom views, of which at least one holds a mass, with a bundle and compare with their truth."""
    confidences: list[float] = []
    hits: list[bool] = []
    dices: list[float] = []
    images = masses = 0
    with open_bundle(bundle) as screener:
        for planned in views:
            image = PhantomImage.make(planned)
            result = screener.screen_images([image])[0]
            if result.error is not None:
                raise RuntimeError(f"a phantom could not be screened: {result.error}")
            truth = label_boxes(image.truth)
            found = [finding.confidence for finding in result.findings]
            hits += (match_boxes([finding.box for finding in result.findings], found, truth) >= 0).tolist()
            confidences += found
            if len(truth):
                dices.append(dice(result.mask, image.truth))
            images, masses = images + 1, masses + len(truth)
            advance(1)
    return Measures(
        images=images,
        masses=masses,
        sensitivity=sum(hits) / masses,
        fp_per_image=(len(hits) - sum(hits)) / images,
        sensitivity_at_limit=froc(confidences, hits, masses, images).sensitivity_at(_LIMIT),
        dice_mean=float(np.mean(dices)),
    )
