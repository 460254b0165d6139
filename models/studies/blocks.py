"""How sure a score over one scene is: its blocks drawn again and again.

Neighbouring pixels are alike, so that a scene has far fewer independent samples than pixels. A bootstrap over
blocks (Kuensch, 1989) draws whole blocks with replacement, and takes the score of each draw. The interval
says how much the score hangs on which parts of this scene there are, not how it would be elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Counts = dict[str, NDArray[np.float64]]
    Scores = dict[str, NDArray[np.float64]]

EDGE = 64
"""Of a block, about, in pixels: fields and ponds are smaller."""
DRAWS = 1000
LOW, HIGH = 5, 95
"""Percentiles that bound the interval: nine of ten draws lie in it."""


def block_index(height: int, width: int, edge: int = EDGE) -> NDArray[np.intp]:
    """Number the blocks of an image: ``(height, width)``, from 0, row by row, of nearly equal sizes."""
    rows, columns = (np.arange(n) * max(1, n // edge) // n for n in (height, width))
    index: NDArray[np.intp] = rows[:, None] * (columns[-1] + 1) + columns
    return index


def intervals(
    score: Callable[[Counts], Scores],
    counts: Counts,
    reference: Counts | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, list[float | None]]:
    """Scores of a scene with their intervals; or how much they are above a reference's, on the same draws.

    Args:
        score: From sums over blocks, ``(...)`` each, to scores of that shape; NaN where there are none.
        counts: By name ``(blocks,)``, what the score is made of.
        reference: The same of another candidate: blocks that are drawn are drawn for both.
        draws: How many.
        seed: Of the draws.

    Returns:
        By score: value, lower and upper bound; None for NaN.
    """
    blocks = len(next(iter(counts.values())))
    drawn = np.random.default_rng(seed).integers(blocks, size=(draws, blocks))
    # how often each block was drawn: sums of a draw are products with it
    weight = np.zeros((draws + 1, blocks))
    weight[0] = 1
    np.add.at(weight, (np.arange(1, draws + 1)[:, None], drawn), 1)

    def scores(of: Mapping[str, NDArray[np.float64]]) -> Scores:
        return score({name: weight @ values for name, values in of.items()})

    found = scores(counts)
    if reference is not None:
        base = scores(reference)
        found = {name: values - base[name] for name, values in found.items()}
    return {name: _interval(values) for name, values in found.items()}


def _interval(values: NDArray[np.float64]) -> list[float | None]:
    """The value of the scene, which comes first, and bounds over the draws that have one."""
    drawn = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not drawn.size:
        return [None, None, None]
    return [round(float(value), 4) for value in (values[0], *np.percentile(drawn, (LOW, HIGH)))]
