"""Libraries that need a card, played by others that do the same without one."""

from unittest import mock

import numpy as np


def no_card(torch_device="cpu", alone=False):
    """A card that nothing runs on but torch's ways."""
    return mock.MagicMock(emulated=True, l2_bytes=0, torch_device=torch_device, alone=alone, put=lambda array: array)


class OnCard(np.ndarray):
    """NumPy as CuPy: an array that has to be asked for its copy on the host."""

    def get(self):
        return np.asarray(self)


def on_card(*arguments, **options):
    return np.asarray(*arguments, **options).view(OnCard)
