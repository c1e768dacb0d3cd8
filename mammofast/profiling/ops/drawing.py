"""What the ops' cases are drawn from, the same numbers every time."""

import numpy as np
import numpy.typing as npt

SHAPE = (4096, 3328)  # of a digital mammogram, rows and cols
Boxes = npt.NDArray[np.int64]


def blurred(noise: npt.NDArray[np.floating], sigma: float) -> npt.NDArray[np.float64]:
    """Blur an image with a Gaussian, mirrored at its edges.

    noise: (rows, cols). sigma: pixels.
    """
    reach = round(4 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    image = np.pad(np.asarray(noise, np.float64), reach, mode="reflect")
    for axis in (0, 1):
        size = image.shape[axis] + 2 * reach
        line = np.fft.rfft(kernel, size)
        spectrum = np.fft.rfft(image, size, axis=axis) * (line[:, None] if axis == 0 else line)
        image = np.fft.irfft(spectrum, size, axis=axis)
        image = np.take(image, np.arange(2 * reach, size - 2 * reach), axis=axis)
    return image


def overlapping_boxes(count: int, scales: int, rng: np.random.Generator) -> tuple[Boxes, npt.NDArray[np.float32]]:
    """Return boxes in bunches around a place, one of each scale, 150 to 900 pixels wide, and scores."""
    rows, cols = SHAPE
    bunches = count // scales
    centres = rng.uniform((300, 300), (cols - 300, rows - 300), (bunches, 2)).repeat(scales, axis=0)
    sides = rng.uniform(150, 900, (bunches, 1)).repeat(scales, axis=0) * rng.uniform(0.8, 1.25, (count, 2))
    centres += rng.normal(0, 0.1, (count, 2)) * sides
    corners = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
    boxes = np.clip(np.rint(corners), 0, [cols, rows, cols, rows]).astype(np.int64)
    return boxes, rng.uniform(0.3, 1, count).astype(np.float32)


def disjoint_boxes(count: int, rng: np.random.Generator) -> tuple[Boxes, npt.NDArray[np.float32]]:
    """Return boxes each well inside a cell of its own of a regular grid, and scores."""
    rows, cols = SHAPE
    across = int(np.ceil(np.sqrt(count)))
    cell = np.array([cols // across, rows // across])
    places = rng.permutation(across * across)[:count]
    low = np.stack([places % across, places // across], axis=1) * cell + rng.integers(2, 6, (count, 2))
    sides = rng.integers(cell // 3, cell - 10, (count, 2))
    return np.concatenate([low, low + sides], axis=1), rng.uniform(0.3, 1, count).astype(np.float32)


def mammogram(rng: np.random.Generator, shape: tuple[int, int] = SHAPE) -> npt.NDArray[np.uint16]:
    """Return 12-bit pixels with the smoothness of tissue and the noise of a detector; sides are multiples of 8."""
    smooth = blurred(rng.standard_normal((shape[0] // 8, shape[1] // 8)), 6).repeat(8, axis=0).repeat(8, axis=1)
    grey = 2000 + 900 * smooth / smooth.std() + 30 * rng.standard_normal(shape)
    return np.asarray(np.clip(np.rint(grey), 0, 4095), np.uint16)
