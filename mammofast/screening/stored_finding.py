"""A finding as results keep it, its mask as runs, and back."""

import base64
from dataclasses import dataclass
from typing import Any

from mammofast.records import Box, Finding, VolumeFinding
from mammofast.screening.runs import decode_mask, encode_mask


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """A finding as results keep it.

    area_px, runs: of an image's; ``runs`` is its mask, see :mod:`mammofast.screening.runs`.
    z: of a volume's, which has no mask of its own: its slices (z_min, z_max), half-open.
    """

    box: Box
    score: float
    confidence: float
    area_px: int | None
    runs: bytes
    z: tuple[int, int] | None = None

    @classmethod
    def of(cls, finding: Finding | VolumeFinding) -> "StoredFinding":
        """Encode a finding."""
        if isinstance(finding, VolumeFinding):
            x_min, y_min, x_max, y_max = map(int, finding.box)
            z = int(finding.z_min), int(finding.z_max)
            return cls((x_min, y_min, x_max, y_max), float(finding.score), float(finding.confidence), None, b"", z)
        x_min, y_min, x_max, y_max = map(int, finding.box)
        if finding.mask.shape != (y_max - y_min, x_max - x_min):
            raise ValueError(f"mask: got shape {finding.mask.shape}, expected the size of the box {finding.box}")
        runs = encode_mask(finding.mask)
        return cls((x_min, y_min, x_max, y_max), float(finding.score), float(finding.confidence), finding.area_px, runs)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "StoredFinding":
        """Return the finding that ``as_dict`` wrote."""
        x_min, y_min, x_max, y_max = values["box"]
        z = values.get("z")
        return cls(
            (x_min, y_min, x_max, y_max),
            values["score"],
            values["confidence"],
            values.get("area_px"),
            base64.b64decode(values.get("mask", ""), validate=True),
            None if z is None else (z[0], z[1]),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        values = {"box": self.box, "score": self.score, "confidence": self.confidence}
        if self.z is not None:
            return {**values, "z": self.z}
        return {**values, "area_px": self.area_px, "mask": base64.b64encode(self.runs).decode()}

    def finding(self) -> Finding:
        """Decode an image's finding."""
        x_min, y_min, x_max, y_max = self.box
        return Finding(self.box, self.score, self.confidence, decode_mask(self.runs, (y_max - y_min, x_max - x_min)))

    def volume_finding(self) -> VolumeFinding:
        """Decode a volume's finding."""
        if self.z is None:
            raise ValueError("z: got none, expected the slices of a volume's finding")
        return VolumeFinding(self.box, *self.z, self.score, self.confidence)
