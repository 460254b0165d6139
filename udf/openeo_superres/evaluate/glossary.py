"""What each figure of an evaluation is called, what it says, and how it is read out of the facts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openeo_superres.sensor import BAND_NAMES


@dataclass(frozen=True, slots=True)
class Entry:
    """One figure per result, and perhaps per band."""

    path: str
    """Keys in the facts of a result, joined by dots."""
    name: str
    unit: str
    digits: int
    about: str
    """One line: what it is, and which way is good."""
    size: bool = False
    """Whether its sign says only which way it errs: means are taken of its absolute value."""


SAME = "The same for the bands that Sentinel-2 sees at 20 m."
RMSE = "Usual error of a pixel; 100 DN are 0.01 of reflectance. Low is good."
FRR = "Share of the fine detail that bicubic loses and that is back: 100 is all of it."
FRO = "Detail beyond what the truth has: 0 is right."
FRU = "Detail below what bicubic keeps: 0 is right."
KEPT = "Error against the input when the sensor sees the output again. Low is good."
RADIOMETRY = (
    Entry(
        "bias",
        "Bias",
        "DN",
        3,
        "Too bright or too dark against the input, whatever the sign: 0 is right.",
        True,
    ),
    Entry(
        "gain", "Contrast", "", 4, "DN seen again per DN of the input: 1 is right, below it contrast is lost."
    ),
)
WALD = (
    Entry(
        "gain10",
        "Gain, 10 m bands",
        "dB",
        2,
        "How far the error is below bicubic's: 6 dB is half. High is good.",
    ),
    Entry("gain20", "Gain, 20 m bands", "dB", 2, SAME),
    Entry("rmse10", "RMSE, 10 m bands", "DN", 1, RMSE),
    Entry("rmse20", "RMSE, 20 m bands", "DN", 1, SAME),
    Entry("rmse", "RMSE", "DN", 1, RMSE),
    Entry("psnr", "PSNR", "dB", 2, "The same on a logarithmic scale, of 10 000 DN. High is good."),
    Entry("ssim", "SSIM", "", 4, "Likeness of local means, contrasts and patterns: 1 for the same."),
    Entry(
        "sam",
        "SAM",
        "°",
        3,
        "Angle between the true and the found spectrum of a pixel: 0 for the same colour.",
    ),
    Entry("ergas10", "ERGAS, 10 m bands", "", 3, "Error in relation to the bands' means. Low is good."),
    Entry("ergas20", "ERGAS, 20 m bands", "", 3, SAME),
    Entry("frr10", "FRR, 10 m bands", "%", 1, FRR),
    Entry("frr20", "FRR, 20 m bands", "%", 1, SAME),
    Entry("frr", "FRR", "%", 1, FRR),
    Entry("fro10", "FRO, 10 m bands", "%", 2, FRO),
    Entry("fro20", "FRO, 20 m bands", "%", 2, SAME),
    Entry("fro", "FRO", "%", 2, FRO),
    Entry("fru10", "FRU, 10 m bands", "%", 2, FRU),
    Entry("fru20", "FRU, 20 m bands", "%", 2, SAME),
    Entry("fru", "FRU", "%", 2, FRU),
    Entry(
        "rise",
        "Rise of edges",
        "px",
        2,
        "Pixels from 10 to 90 % across real edges: as in the truth is right.",
    ),
    Entry("shift", "Shift", "px", 3, "How far the image lies off the truth. Low is good."),
    Entry("local_shift", "Local shift", "px", 3, "The same of small patches. Low is good."),
    Entry("consistency", "Consistency", "DN", 2, KEPT),
    *RADIOMETRY,
)
"""Of a Wald protocol."""
NATIVE = (
    Entry("consistency", "Consistency", "DN", 2, KEPT),
    *RADIOMETRY,
    Entry(
        "noise_gain", "Noise gain", "", 2, "Noise that comes out over noise that goes in, where it is flat."
    ),
    Entry(
        "rise",
        "Rise of edges",
        "px",
        2,
        "Pixels from 10 to 90 % across real edges: few is sharp, true or not.",
    ),
    Entry("shift", "Shift", "px", 3, "How far what is seen again lies off the input. Low is good."),
    Entry("local_shift", "Local shift", "px", 3, "The same of small patches. Low is good."),
    Entry("indices.NDVI.rmse", "NDVI", "", 5, "Error of the vegetation index, seen again. Low is good."),
    Entry("indices.NDWI.rmse", "NDWI", "", 5, "Error of the water index, seen again. Low is good."),
    Entry("indices.NDMI.rmse", "NDMI", "", 5, "Error of the moisture index, seen again. Low is good."),
)
"""Of the product at 5 m."""
JUDGES = {
    "brisque": ("BRISQUE", "How unnatural it looks, less what bicubic's does: below 0 is better."),
    "opensr": ("opensr-test", "As opensr-test defines it; bicubic is the floor, the truth the ceiling."),
}
"""By their key in the facts: name, and what their figures say."""
DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def find(figures: Any, path: str) -> Any:
    """What stands at a path of keys; None where one is missing."""
    for key in path.split("."):
        figures = figures.get(key) if isinstance(figures, Mapping) else None
    return figures


def number(value: Any, *, size: bool = False) -> float | None:
    """A figure as one number: of bands the mean, of a shift its length; None for what is not known.

    Args:
        value: A number, None, ``[dy, dx]``, or one of these per band.
        size: Take absolute values.
    """
    if isinstance(value, Mapping):
        known = [one for one in (number(each, size=size) for each in value.values()) if one is not None]
        return sum(known) / len(known) if known else None
    if isinstance(value, Sequence) and not isinstance(value, str):
        parts = [part for part in map(number, value) if part is not None]
        return math.hypot(*parts) if parts and len(parts) == len(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return abs(float(value)) if size else float(value)


def by_band(value: Any) -> dict[str, float | None]:
    """The numbers of a figure per band; empty for one that is not by band."""
    if not isinstance(value, Mapping):
        return {}
    return {band: number(value[band]) for band in BAND_NAMES if band in value}


def gains(rows: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Gain over bicubic in the RMSE, in dB, per label and band."""
    base = by_band(find(rows, "bicubic.rmse"))

    def gain(reference: float | None, error: float | None) -> float | None:
        return 20 * math.log10(reference / error) if reference and error else None

    return {
        label: {band: gain(base.get(band), error) for band, error in by_band(find(row, "rmse")).items()}
        for label, row in rows.items()
    }


def shown(value: float | None, digits: int) -> str:
    """A number as it is printed: with a true minus, and no negative zero; a dash for what is not known."""
    if value is None:
        return DASH
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if not float(text) else text.replace("-", MINUS)
