"""From where on one curve is no longer better than another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def crossing(levels: Sequence[float], errors: Sequence[float], others: Sequence[float]) -> float | None:
    """The first level at which errors are no longer below the others; between two levels, on a line.

    Args:
        levels: Increasing.
        errors: At each of them; less is better.
        others: The same.

    Returns:
        None if errors stay below.
    """
    lead = np.asarray(others, np.float64) - np.asarray(errors, np.float64)
    beaten = np.flatnonzero(~(lead > 0))
    if not beaten.size:
        return None
    at = int(beaten[0])
    if at == 0:
        return float(levels[0])
    before, after = lead[at - 1], lead[at]
    # an infinite lead, a PSNR without any error, goes down on no line
    part = before / (before - after) if np.isfinite(before) else 1.0
    return float(levels[at - 1] + part * (levels[at] - levels[at - 1]))


def crossings(
    names: Sequence[str],
    levels: Sequence[float],
    errors: NDArray[np.float64],
    others: NDArray[np.float64],
) -> dict[str, float | None]:
    """:func:`crossing` of each band, and of the mean over the bands, ``mean``: from ``(levels, bands)``."""
    found = {name: crossing(levels, errors[:, k], others[:, k]) for k, name in enumerate(names)}
    found["mean"] = crossing(levels, errors.mean(axis=1), others.mean(axis=1))
    return {name: None if level is None else round(level, 3) for name, level in found.items()}
