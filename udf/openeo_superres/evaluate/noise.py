"""How much of the input's noise comes out again, on areas where there is nothing else to see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from openeo_superres.sensor import BANDS, native_groups

from .metrics import inside
from .radiometry import BORDER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .baseline import Image, Predict

WINDOW = 5
"""10 m pixels on a side of the area whose deviation says how flat it is."""
SHARE = 0.1
"""Of the pixels: the flattest tenth."""


def flat(image: Image) -> NDArray[np.bool_]:
    """The flattest :data:`SHARE` of an input: ``(y, x)``, true where it is flat in all bands.

    Flat is a low standard deviation over a window around the pixel, in the band where it stands out most, as
    a share of the band's usual one (the median). Water and large fields are.

    Args:
        image: ``(bands, y, x)`` DN.

    Raises:
        ValueError: If the image is smaller than the window.
    """
    if min(image.shape[1:]) < WINDOW:
        raise ValueError(f"Expected {WINDOW} x {WINDOW} pixels or more, got shape {image.shape}.")
    reach = WINDOW // 2
    padded = np.pad(image.astype(np.float64), ((0, 0), (reach, reach), (reach, reach)), mode="symmetric")
    padded -= image.mean(axis=(1, 2), dtype=np.float64)[:, None, None]
    mean, square = _means(padded), _means(padded**2)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    usual = np.median(deviation, axis=(1, 2), keepdims=True)
    relative = (deviation / np.where(usual > 0, usual, 1)).max(axis=0)
    chosen: NDArray[np.bool_] = relative <= np.quantile(relative, SHARE)
    return chosen


def _means(padded: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over windows, without the padding."""
    for axis in (1, 2):
        padded = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=axis).mean(axis=-1)
    return padded


def noise_gain(predict: Predict, image: Image, sigma: float = 8.0, seed: int = 0) -> NDArray[np.float64]:
    """Standard deviation of what noise in the input does to the output, over that of the noise: ``(bands,)``.

    ``predict(image + noise) - predict(image)`` on flat areas: 1 hands noise on as it is (nearest neighbour),
    below 1 it is smoothed, above 1 amplified, as every sharpening filter does. All bands have noise at once,
    a figure holds what comes over from other bands, too.

    Args:
        predict: From ``(10, y, x)`` to ``(10, scale * y, scale * x)``.
        image: ``(10, y, x)`` DN, 20 m bands replicated on the even grid.
        sigma: Of the noise, in DN; one value per 20 m pixel of 20 m bands.
        seed: Of the noise.

    Raises:
        ValueError: If the image is too small for areas off its edge.
    """
    rng = np.random.default_rng(seed)
    noise = np.empty_like(image)
    for chosen, step in native_groups(BANDS):
        size = [-(-n // step) for n in image.shape[1:]]
        values = sigma * rng.standard_normal((len(chosen), *size), dtype=np.float32)
        noise[chosen] = values.repeat(step, axis=1).repeat(step, axis=2)[
            :, : image.shape[1], : image.shape[2]
        ]
    response = predict(image + noise) - predict(image)
    scale = response.shape[1] // image.shape[1]
    where = flat(inside(image, BORDER))
    fine = where.repeat(scale, axis=0).repeat(scale, axis=1)
    given = inside(noise, BORDER)[:, where].std(axis=1, dtype=np.float64)
    gained = inside(response, scale * BORDER)[:, fine].std(axis=1, dtype=np.float64)
    ratio: NDArray[np.float64] = gained / given
    return ratio
