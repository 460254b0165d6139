"""What the intervals of the shipped models cover, in figures, a picture and the tables of docs/trust.md.

Coverage on patches that nothing was calibrated on, with the shipped calibration, with one from elsewhere, by
kind of pixel, and after other degradations. All of it is at the Wald scale: nothing is proven at 5 m, where
there is no reference.
"""

from __future__ import annotations

import argparse
import json
import os
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openeo_superres.card import DEFAULT_MODEL, list_models, load_card
from openeo_superres.sensor import BAND_NAMES
from training.calibrate import report
from training.coverage import AREAS, MAIN, TRANSFERS, by_group
from training.tables import table

from . import publish, scenes
from .trust_chart import maps, plot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAGE = "trust.md"
NAME = "trust"
PROTOCOLS: dict[str, dict[str, float]] = {
    MAIN: {},
    "no noise": {"noise": 0.0},
    "MTF^0.8": {"exponent": 0.8},
    "MTF^1.25": {"exponent": 1.25},
}
"""Name -> arguments of :func:`openeo_superres.evaluate.wald_pair`; the first was calibrated on."""
GROUPS = ("10", "20")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _pair(groups: Mapping[str, float] | None) -> str:
    """Of the 10 m and of the 20 m bands."""
    return "-" if groups is None else " / ".join(_percent(groups[group]) for group in GROUPS)


def covered(models: Mapping[str, Any]) -> str:
    """Coverage of every band on the patches that are tested on."""
    rows = [["model, area", *BAND_NAMES]]
    for name, facts in models.items():
        for area, shares in facts["coverage"][MAIN].items():
            rows.append([f"`{name}`, {area}", *(_percent(shares[band]) for band in BAND_NAMES)])
    return table(rows)


def carried(models: Mapping[str, Any]) -> str:
    """Coverage of every band where nothing was calibrated."""
    rows = [["model, from where to where", *BAND_NAMES]]
    for name, facts in models.items():
        for label in TRANSFERS:
            shares = facts["transfer"][label]["local"]
            rows.append([f"`{name}`, {label}", *(_percent(shares[band]) for band in BAND_NAMES)])
    return table(rows)


def compared(facts: Mapping[str, Any]) -> str:
    """The local scale beside a constant width, both calibrated on the area alone."""
    kinds = ("low contrast", "middle contrast", "high contrast", "edges", "water")
    rows = [["area, half-width", "mean, DN", "covers, %", *(f"{kind}, %" for kind in kinds)]]
    for area in AREAS:
        for kind, own in facts["own"][area].items():
            width = " / ".join(f"{own['width'][group]:.0f}" for group in GROUPS)
            shares = [_pair(own["classes"].get(label)) for label in kinds]
            rows.append([f"{area}, {kind}", width, _pair(own["coverage"]), *shares])
    rows.extend(
        [f"{label}, {kind}", "", _pair(by_group(shares)), *[""] * len(kinds)]
        for label, both in facts["transfer"].items()
        for kind, shares in both.items()
    )
    return table(rows)


def degraded(models: Mapping[str, Any]) -> str:
    """Coverage after other degradations, means of the 10 m and of the 20 m bands."""
    rows = [["model, area", *PROTOCOLS]]
    for name, facts in models.items():
        for area in AREAS:
            shares = [_pair(by_group(facts["coverage"][protocol][area])) for protocol in PROTOCOLS]
            rows.append([f"`{name}`, {area}", *shares])
    return table(rows)


def sizes(facts: Mapping[str, Any]) -> str:
    """Mean half-width beside the mean absolute error."""
    rows = [["area, DN", *BAND_NAMES]]
    for area in AREAS:
        for label, key in (("half-width", "width"), ("error", "mean_error")):
            cells = [f"{facts[key][area][band]:.0f}" for band in BAND_NAMES]
            rows.append([f"{area}, {label}", *cells])
    return table(rows)


def _range(shares: Sequence[float]) -> str:
    return (
        f"{_percent(min(shares))} to {_percent(max(shares))}, {_percent(float(np.mean(shares)))} in the mean"
    )


def text(models: Mapping[str, Any]) -> str:
    """What the page says between its marks."""
    default = models[DEFAULT_MODEL]
    here = [by_band.values() for facts in models.values() for by_band in facts["coverage"][MAIN].values()]
    there = [kinds["local"].values() for facts in models.values() for kinds in facts["transfer"].values()]
    level = f"{100 * default['level']:g} %"
    sections = {
        f"**Where it was calibrated.** Per cent of the pixels whose truth is inside the {level} interval, on "
        f"patches that nothing was fitted to: {_range([*chain(*here)])}.": covered(models),
        "**Elsewhere.** The same, calibrated on one scene, of all of the other; and calibrated on all but "
        f"the sample, of all of the sample: {_range([*chain(*there)])}. This is what to expect of another "
        "landscape.": carried(models),
        f"**Is the local scale worth it?** `{DEFAULT_MODEL}` beside an interval of one width everywhere, "
        "calibrated alike; 10 m / 20 m bands. Contrast is by thirds of the scene's, edges are the steepest "
        "tenth of the truth, water is where the NDWI of the truth is above 0.": compared(default),
        "**Another blur, no noise.** Per cent covered where the degradation was not that of the calibration; "
        "10 m / 20 m bands.": degraded(models),
        f"**How wide.** Mean half-width of `{DEFAULT_MODEL}`, and its mean absolute error.": sizes(default),
    }
    return "\n\n".join(f"{lead}\n\n{rows}" for lead, rows in sections.items())


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog=f"python -m studies.{NAME}", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("SUPERRES_DATA"), help="data folder")
    parser.add_argument(
        "--figures", type=Path, help="take the figures from this file of an earlier run, draw and write anew"
    )
    publish.add_arguments(parser)
    arguments = parser.parse_args()
    try:
        publish.check(arguments)
        images = {name: scenes.native(name, arguments.data) for name in scenes.DEVELOPMENT}
        if arguments.figures:
            models = json.loads(arguments.figures.read_text(encoding="utf-8"))["models"]
        else:
            # the quickest first, as in other tables
            cards = sorted(map(load_card, list_models()), key=lambda card: -(card.speed or 0))
            models = {card.name: report(card, images, PROTOCOLS).facts() for card in cards}
        figure = plot(models[DEFAULT_MODEL], maps(load_card(DEFAULT_MODEL), images["T33UUB"]))
        facts = {**publish.heading(), "models": models}
        publish.deliver(arguments, NAME, page=PAGE, facts=facts, figure=figure, text=text(models))
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
