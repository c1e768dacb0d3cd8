"""Random fields and the resampling that phantoms are made with. Lengths in millimetres, fields float32 (rows, cols)."""

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]

# Mammographic anatomy has the power spectrum 1/f^β with β about 3: Burgess, "Statistically defined backgrounds",
# J. Opt. Soc. Am. A 16 (1999) 633; Burgess, Jacobson & Judy, Med. Phys. 28 (2001) 419 (mean β 2.8 over 213 images).
ANATOMICAL_BETA = 3.0
# Mixed radix FFTs are fastest, and never slow, on multiples of this.
_FFT_MULTIPLE = 32


def power_law(
    shape: tuple[int, ...],
    spacing: float | tuple[float, ...],
    rng: np.random.Generator,
    outer: float,
    beta: float = ANATOMICAL_BETA,
) -> Field:
    """Return Gaussian noise of mean 0 and deviation 1 whose power falls as 1/f^beta.

    Parameters
    ----------
    shape: rows and columns, or slices, rows and columns. spacing: millimetres between pixels, along each axis or all.
    outer: wavelength in mm beyond which the spectrum is flat, so that the field has no trend across the image.
    beta: exponent of the power spectrum over spatial frequency.

    """
    spacings = spacing if isinstance(spacing, tuple) else (spacing,) * len(shape)
    sizes = [-(-size // _FFT_MULTIPLE) * _FFT_MULTIPLE for size in shape]
    frequencies = [np.fft.fftfreq(*axis) for axis in zip(sizes, spacings, strict=True)]
    frequencies[-1] = np.fft.rfftfreq(sizes[-1], spacings[-1])
    axes = np.meshgrid(*((each**2).astype(np.float32) for each in frequencies), indexing="ij", sparse=True)
    power = sum(axes[1:], start=axes[0])
    amplitude = (power + np.float32(outer**-2)) ** np.float32(-beta / 4)
    amplitude.flat[0] = 0
    spectrum = amplitude * (
        rng.standard_normal(amplitude.shape, np.float32) + 1j * rng.standard_normal(amplitude.shape, np.float32)
    )
    field = np.fft.irfftn(spectrum.astype(np.complex64), sizes, axes=range(len(shape)))
    field /= field.std()
    return np.ascontiguousarray(field[tuple(slice(size) for size in shape)], dtype=np.float32)


def enlarge(image: Field, factor: int, shape: tuple[int, int]) -> Field:
    """Enlarge by a whole factor, bilinear between pixel centres, edges repeated; cut to ``shape``."""
    return _enlarge_rows(_enlarge_rows(image, factor, shape[0]).T, factor, shape[1]).T


def _enlarge_rows(image: Field, factor: int, size: int) -> Field:
    before = np.concatenate([image[:1], image[:-1]])
    after = np.concatenate([image[1:], image[-1:]])
    out = np.empty((len(image), factor, image.shape[1]), dtype=np.float32)
    for i in range(factor):
        offset = np.float32((i + 0.5) / factor - 0.5)
        other = before if offset < 0 else after
        np.add(image, np.abs(offset) * (other - image), out=out[:, i])
    return out.reshape(-1, image.shape[1])[:size]


def enlarge_and_average(image: Field, factor: int) -> Field:
    """Return what averaging ``enlarge(image, factor)`` over squares of factor × factor gives, without enlarging."""
    offsets = np.abs((np.arange(factor) + 0.5) / factor - 0.5)
    neighbour = np.float32(offsets.sum() / 2 / factor)
    for _ in range(2):
        before = np.concatenate([image[:1], image[:-1]])
        after = np.concatenate([image[1:], image[-1:]])
        image = (image + neighbour * (before - image + after - image)).T
    return image


def logistic(x: npt.NDArray[np.floating]) -> Field:
    """Return 1 / (1 + exp(-x))."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x), dtype=np.float32)


def smooth_step(x: npt.NDArray[np.floating]) -> Field:
    """Return 0 below 0, 1 above 1, and a smooth rise between."""
    t = np.clip(x, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)
