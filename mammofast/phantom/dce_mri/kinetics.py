"""How signal rises and falls after the injection."""

from dataclasses import dataclass

import numpy as np

# s from the beginning of the baseline, which takes about so long, to the arrival of contrast medium in the breast.
ARRIVAL = 60.0


@dataclass(frozen=True, slots=True)
class Curve:
    """Part of the full enhancement over time: a rise, then a straight fall or further rise.

    rise: s, of the exponential wash-in. slope: of the late phase, per minute; negative is wash-out. delay: s.
    """

    rise: float
    slope: float
    delay: float = 0.0

    @classmethod
    def of_mass(cls, kinetics: str, rng: np.random.Generator) -> "Curve":
        """Draw the curve of a mass of "washout", "plateau" or "persistent" kinetics.

        BI-RADS: from the early peak on, a change of less than 10 % is a plateau.
        """
        rise, slope = {
            "washout": ((10, 22), (-0.14, -0.07)),
            "plateau": ((12, 20), (-0.012, 0.01)),
            "persistent": ((35, 60), (0.05, 0.11)),
        }[kinetics]
        return cls(float(rng.uniform(*rise)), float(rng.uniform(*slope)))

    def at(self, time: float) -> float:
        """Return the part at ``time`` s after the beginning of the baseline."""
        since = time - ARRIVAL - self.delay
        if since <= 0:
            return 0.0
        return float((1 - np.exp(-since / self.rise)) * max(1 + self.slope * since / 60, 0.0))
