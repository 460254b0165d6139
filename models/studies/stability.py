"""How much of what changes from date to date at 5 m is not in the input, for bicubic and each model.

Seven dates of one place, at their native resolutions, are super-resolved one by one. What a Sentinel-2 would
see of a change can be checked against the input; the rest is the network's own. The same date twice, with
independent noise, says how much of that noise alone makes. One scale up (Wald), where the true change is
known, the study asks whether what networks add to it is true.
"""

from __future__ import annotations

import argparse
import os
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openeo_superres.card import list_models
from openeo_superres.evaluate import NOISE, bicubic, wald_pair, wald_truth
from openeo_superres.evaluate.stability import FEWEST, LEAST, change, flicker, persistence, stable, unseen
from openeo_superres.scene import open_scene
from openeo_superres.sensor import BAND_NAMES, BANDS, BANDS_10M
from training.cards import HELP, labelled, predictor
from training.tables import table

from . import publish
from .scenes import native
from .stability_chart import plot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from openeo_superres.evaluate import Image, Predict

    Facts = dict[str, Any]

SERIES = "theia-l3a-bouconne/date*_10m.tif"
"""Files in the data folder, in the order of their dates."""
GAINS = (1.0, 1.1, 0.95)
"""Of the dates that are made of the sample where there is no data folder."""
PAIRS = "consecutive"
"""Pairs of dates whose figures the page shows."""
SIZE = 256
"""Edge of the part of the sample for that, in 10 m pixels."""


def series(data: Path | None) -> tuple[str, list[Image]]:
    """Inputs of several dates: what they are, and ``(10, y, x)`` DN each, y and x multiples of 8.

    Args:
        data: The data folder; None for dates made of the sample: known gains, and noise.

    Raises:
        ValueError: If there are no dates in the data folder.
        OSError: If they can't be read.
    """
    if data is None:
        x10, x20 = native("sample")
        image = _stacked(x10[:, :SIZE, :SIZE], x20[:, : SIZE // 2, : SIZE // 2])
        dates = [noisy(np.float32(gain) * image, seed) for seed, gain in enumerate(GAINS)]
        return "sample, made brighter and darker, with noise", dates
    paths = sorted(Path(data).glob(SERIES))
    if len(paths) < 2:
        raise ValueError(f"Expected two or more dates {SERIES} in {data}, found {len(paths)}.")
    dates = []
    for path in paths:
        scene = open_scene(path)
        dates.append(scene.read((0, 0, scene.width // 8 * 8, scene.height // 8 * 8)))
    return "theia-l3a-bouconne", dates


def _stacked(x10: Image, x20: Image) -> Image:
    """Bands of both resolutions on the 10 m grid."""
    return np.concatenate([x10, x20.repeat(2, axis=1).repeat(2, axis=2)])


def noisy(image: Image, seed: int) -> Image:
    """An input with noise of 8 DN more, a draw for each pixel of a band's own grid."""
    rng = np.random.default_rng(seed)
    split = len(BANDS_10M)
    fine, coarse = image[:split], image[split:, ::2, ::2]
    draws = [rng.standard_normal(part.shape, dtype=np.float32) for part in (fine, coarse)]
    return image + np.float32(NOISE) * _stacked(*draws)


def measure(dates: Sequence[Image], predict: Predict) -> Facts:
    """Figures of one model, by band; those over pairs of dates are taken from sums over them.

    Args:
        dates: Inputs ``(10, y, x)``.
        predict: The model.
    """
    outputs = [predict(date) for date in dates]
    details = [unseen(output) for output in outputs]
    facts = {
        "consecutive": _over(pairwise(range(len(dates))), dates, outputs, details),
        "all": _over(combinations(range(len(dates)), 2), dates, outputs, details),
    }
    # nothing changes but noise
    twice = [noisy(dates[0], seed) for seed in (101, 102)]
    again = [predict(image) for image in twice]
    facts["noise"] = _over([(0, 1)], twice, again, [unseen(output) for output in again])
    return facts


def _over(
    pairs: Iterable[tuple[int, int]],
    dates: Sequence[Image],
    outputs: Sequence[Image],
    details: Sequence[Image],
) -> dict[str, Any]:
    """Figures over pairs of dates: root mean squares in DN, shares of energy, correlations."""
    pairs = list(pairs)
    changes = [change(outputs[a], outputs[b]) for a, b in pairs]
    total, varying, hidden = (
        np.mean([getattr(each, name) ** 2 for each in changes], axis=0)
        for name in ("total", "varying", "unseen")
    )
    calm = [flicker(outputs[a], outputs[b], stable(dates[a], dates[b])) for a, b in pairs]
    squares, count = (np.sum(values, axis=0) for values in zip(*calm, strict=True))
    enough = count >= FEWEST
    kept = np.mean([persistence(details[a], details[b]) for a, b in pairs], axis=0)
    return {
        "total": _by_band(np.sqrt(total), 2),
        "varying": _by_band(np.sqrt(varying), 2),
        "unseen": _by_band(np.sqrt(hidden), 2),
        "share": _by_band(hidden / total, 4),
        "share_varying": _by_band(hidden / varying, 4),
        "persistence": _by_band(kept, 3),
        "flicker": _by_band(np.sqrt(np.where(enough, squares, np.nan) / np.maximum(count, 1)), 2),
        "stable_pixels": _by_band(count, 0),
    }


def _by_band(values: NDArray[Any], digits: int) -> dict[str, float | None]:
    """Figures by band, or of the 10 m bands; None for NaN."""
    return {
        band: round(float(value), digits) if np.isfinite(value) else None
        for band, value in zip(BAND_NAMES, values, strict=False)
    }


def truth_of_change(dates: Sequence[Image], predict: Predict) -> Facts:
    """One scale up: is what a model adds to the change of consecutive dates true? By band.

    10 m bands are judged at 10 m (Wald x2), 20 m bands at 20 m (Wald x4). ``explained`` is
    ``1 - |R - T|^2 / |T|^2`` with R and T what is :func:`unseen` of the output's change and of the true one:
    1 all of it, 0 as good as adding nothing, below 0 worse. ``correlation`` is that of R and T. The truth has
    noise of its own, which nobody can know.
    """
    split = len(BANDS_10M)
    results = []
    for factor in (2, 4):
        pairs = [
            wald_pair(date[:split], date[split:, ::2, ::2], factor=factor, seed=seed)
            for seed, date in enumerate(dates)
        ]
        bands = BANDS[: len(wald_truth(pairs[0]))]
        added = [unseen(predict(pair.input)[: len(bands)], bands) for pair in pairs]
        true = [unseen(wald_truth(pair), bands) for pair in pairs]
        results.append(_agreement(*([b - a for a, b in pairwise(each)] for each in (added, true))))
    explained, correlation = (
        np.concatenate([fine, coarse[split:]]) for fine, coarse in zip(*results, strict=True)
    )
    return {"explained": _by_band(explained, 3), "correlation": _by_band(correlation, 3)}


def _agreement(
    added: Sequence[Image], true: Sequence[Image]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of the true energy that is explained, and correlation, by band, over all changes."""
    ours, theirs = (np.stack(each).astype(np.float64) for each in (added, true))
    power, own, product, left = (
        values.mean(axis=(0, 2, 3)) for values in (theirs**2, ours**2, ours * theirs, (ours - theirs) ** 2)
    )
    few = np.sqrt(own) < LEAST
    return 1 - left / power, product / np.where(few, np.nan, np.sqrt(own * power))


def text(facts: Facts) -> str:
    """What the page says in figures: a table over dates, one for each part of the study."""
    models = facts["models"]
    names = {label: label if label == "bicubic" else f"`{label}`" for label in models}

    parts = (
        ("share of the varying change that is not in the band's input", PAIRS, "share_varying", ".1f", 100),
        ("what is not in it, in DN", PAIRS, "unseen", ".1f", 1),
        ("the same from noise of 8 DN alone, in DN", "noise", "unseen", ".1f", 1),
        ("one scale up: how much of the true change of this kind is added", "wald", "explained", ".0f", 100),
        ("correlation of fine detail from each date to the next", PAIRS, "persistence", ".2f", 1),
        ("whole change from noise of 8 DN alone, in DN", "noise", "total", ".1f", 1),
        ("change where the input is stable, in DN", PAIRS, "flicker", ".1f", 1),
    )
    tables = []
    for head, over, key, form, factor in parts:
        cells = [
            [names[label], *(_shown(of[over][key][band], form, factor) for band in BAND_NAMES)]
            for label, of in models.items()
        ]
        tables.append(table([[head, *BAND_NAMES], *cells]))
    height, width = facts["size"]
    line = f"{facts['dates']} dates of {width} x {height} pixels of 10 m; changes are from each to the next."
    return "\n\n".join([line, *tables])


def _shown(value: float | None, form: str, factor: float) -> str:
    """A figure, in per cent for a factor of 100; zero has no sign."""
    if value is None:
        return ""
    shown = f"{factor * value:{form}}"
    shown = shown.lstrip("-") if not float(shown) else shown
    return f"{shown} %" if factor == 100 else shown


def print_figures(facts: Facts) -> None:
    """Print the shares that are not in the input, and what noise alone makes, in DN."""
    print("Of the varying change, what is not in the input (%); by noise alone (DN)")
    print(" " * 18 + "".join(f"{band:>8}" for band in [*BAND_NAMES, *BAND_NAMES]))
    for label, of in facts["models"].items():
        shares = [100 * of["consecutive"]["share_varying"][band] for band in BAND_NAMES]
        floor = [of["noise"]["unseen"][band] for band in BAND_NAMES]
        print(f"{label:18}" + "".join(f"{value:8.1f}" for value in [*shares, *floor]))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m studies.stability", description=__doc__)
    parser.add_argument("models", nargs="*", help=f"{HELP} (default: every shipped model)")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("SUPERRES_DATA"),
        help="data folder with the dates (SUPERRES_DATA); without it, dates are made of the sample",
    )
    publish.add_arguments(parser)
    arguments = parser.parse_args()
    try:
        publish.check(arguments)
        cards = labelled(arguments.models or list_models())
        models: Mapping[str, Predict] = {
            "bicubic": bicubic,
            **{label: predictor(card) for label, card in cards.items()},
        }
        name, dates = series(arguments.data)
        facts: Facts = {
            **publish.heading(cards),
            "series": name,
            "dates": len(dates),
            "size": list(dates[0].shape[1:]),
            "models": {
                label: {**measure(dates, predict), "wald": truth_of_change(dates, predict)}
                for label, predict in models.items()
            },
        }
        print_figures(facts)
        publish.deliver(
            arguments,
            "stability",
            page="stability.md",
            facts=facts,
            figure=plot(facts, dates, models),
            text=text(facts),
        )
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
