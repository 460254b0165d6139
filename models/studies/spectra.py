"""How much of the fine detail comes back, band by band: spectra of bicubic, of models and of the reference.

Wald protocol x4: a real scene is degraded by 4 with noise of 8 DN, super-resolved by 2, and compared with
itself degraded by 2 (10 m bands) or as it is (20 m bands), so that all ten bands have a reference, of 20 m.
No such figure proves anything at 5 m, where there is none.
"""

from __future__ import annotations

import argparse
from itertools import cycle
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from openeo_superres.evaluate import BORDER, bicubic, wald_pair, wald_profiles, wald_truth
from openeo_superres.evaluate.metrics import inside
from openeo_superres.evaluate.spectrum import restoration
from openeo_superres.sensor import BANDS
from training.cards import HELP, labelled, predictor
from training.chart import COLOURS, STYLE, new_figure
from training.spectra import cycles_per_km, draw, mark_nyquist, name_nyquist, profile
from training.tables import table

from . import publish, scenes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from openeo_superres.evaluate import Image, Predict

PAGE = "why-not-psnr.md"
MODEL = "edsr_4x32"
METRES = 20
"""Of the pixels that are compared."""
SHOWN = "B07"
"""The band that is drawn large."""
LINES = tuple(COLOURS[k] for k in (1, 3, 4, 2, 5, 6, 7, 0))
"""Of the reference, bicubic, ``cubic_mtf``, and other models in turn."""


def measure(x10: Image, x20: Image, predictors: Mapping[str, Predict]) -> dict[str, Any]:
    """Spectra of every band.

    Args:
        x10: ``(4, y, x)`` float32 DN.
        x20: ``(6, y / 2, x / 2)`` float32 DN.
        predictors: Models by label; bicubic stands beside.

    Returns:
        ``per_km``: frequencies; ``spectra`` per band and label (``reference``, ``bicubic``, models): dB;
        ``difference`` per label and band: mean difference to the reference in dB beyond half the highest
        frequency; ``frr`` and ``fro`` per label and band, in per cent.
    """
    pair = wald_pair(x10, x20, factor=4)
    truth = wald_truth(pair)
    every = {"bicubic": bicubic, **predictors}
    images = {"reference": truth, **{label: predict(pair.input) for label, predict in every.items()}}
    drawn = {label: [profile(band) for band in inside(image, BORDER)] for label, image in images.items()}
    measured = {label: wald_profiles(pair, image) for label, image in images.items()}
    rates = {
        label: [
            restoration(*each)
            for each in zip(measured[label], measured["reference"], measured["bicubic"], strict=True)
        ]
        for label in every
    }
    fine = len(drawn["reference"][0]) // 2
    names = [band.name for band in BANDS]
    return {
        "per_km": cycles_per_km(*inside(truth, BORDER).shape[1:], METRES).round(4).tolist(),
        "spectra": {
            name: {label: bands[index].round(3).tolist() for label, bands in drawn.items()}
            for index, name in enumerate(names)
        },
        "difference": {
            label: {
                name: round(float((drawn[label][index] - drawn["reference"][index])[fine:].mean()), 3)
                for index, name in enumerate(names)
            }
            for label in every
        },
        **{
            rate: {
                label: {
                    name: round(getattr(band, rate), 2) + 0.0 for name, band in zip(names, bands, strict=True)
                }
                for label, bands in rates.items()
            }
            for rate in ("frr", "fro")
        },
    }


def plot(facts: dict[str, Any]) -> Figure:
    """Draw the spectra of one band large, and of all ten what they lack or have over the reference."""
    with mpl.rc_context({**STYLE, "font.size": 9}):
        figure = new_figure(12, 9)
        above, below = figure.subfigures(2, 1, height_ratios=(1, 1.35))
        levels, differences = above.subplots(1, 2)
        pixel = 4 * next(band.resolution for band in BANDS if band.name == SHOWN)
        per_km, labels = np.array(facts["per_km"]), list(facts["spectra"][SHOWN])
        colours = dict(zip(labels, cycle(LINES), strict=False))
        _panel(levels, pixel, per_km, facts["spectra"][SHOWN], colours)
        _panel(differences, pixel, per_km, _differences(facts["spectra"][SHOWN]), colours)
        levels.set(title=f"{SHOWN}: amplitude", ylabel="dB", xlabel="cycles per km")
        differences.set(title=f"{SHOWN}: difference to the reference", ylabel="dB", xlabel="cycles per km")
        name_nyquist(levels, pixel)
        panels = below.subplots(2, 5, sharex=True, sharey=True)
        for axes, band in zip(panels.flat, BANDS, strict=True):
            _panel(axes, 4 * band.resolution, per_km, _differences(facts["spectra"][band.name]), colours)
            axes.set_title(band.name, fontsize=10, fontweight="bold" if band.name == SHOWN else "normal")
        for axes in panels[:, 0]:
            axes.set_ylabel("difference, dB")
        for axes in panels[1]:
            axes.set_xlabel("cycles per km")
        handles, names = levels.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    return figure


def _panel(
    axes: Axes,
    metres: float,
    per_km: np.ndarray,
    curves: Mapping[str, np.ndarray],
    colours: Mapping[str, str],
) -> None:
    draw(axes, per_km, curves, [colours[label] for label in curves])
    mark_nyquist(axes, metres)
    axes.set_xlim(0, 1000 / (2 * METRES))


def _differences(spectra: Mapping[str, list[float]]) -> dict[str, np.ndarray]:
    """Each spectrum less the reference's, that one, zero, too."""
    return {label: np.subtract(values, spectra["reference"]) for label, values in spectra.items()}


def report(facts: dict[str, Any]) -> str:
    """Markdown: per band, how far the finer half of the spectrum is from the reference's, and FRR."""
    rows = [["finer half of the spectrum, mean difference to the reference", *(band.name for band in BANDS)]]
    rows += [
        [label, *(f"{value:+.1f} dB" for value in bands.values())]
        for label, bands in facts["difference"].items()
    ]
    rows += [
        [f"{label}: FRR", *(f"{value:.0f} %" for value in bands.values())]
        for label, bands in facts["frr"].items()
        if label != "bicubic"
    ]
    return table(rows)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m studies.spectra", description=__doc__)
    parser.add_argument("models", nargs="*", default=[MODEL], help=f"{HELP} (default: {MODEL})")
    scenes.add_arguments(parser)
    publish.add_arguments(parser)
    arguments = parser.parse_args()
    try:
        publish.check(arguments)
        cards = labelled(arguments.models)
        predictors = {label: predictor(card) for label, card in cards.items()}
        images = scenes.native(arguments.scene, arguments.data)
        facts = {**publish.heading(cards), "scene": arguments.scene, **measure(*images, predictors)}
        text = report(facts)
        print(text)
        publish.deliver(arguments, "spectra", page=PAGE, facts=facts, figure=plot(facts), text=text)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
