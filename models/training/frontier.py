"""What quality costs: gain over bicubic against time per pixel, for every model that is given.

Gains are those of the Wald x2 protocol on the development scenes (8 DN of noise); bicubic and ``cubic_mtf``
stand beside, always. Times are process time on one core, of all models in turn, bicubic included, in
onnxruntime. No gain proves anything at 5 m, where there is no reference.
"""

from __future__ import annotations

import argparse
import json
import os
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from openeo_superres.evaluate import wald_pair
from openeo_superres.evaluate.protocols import measure as measure_wald
from openeo_superres.output import replacing

from .arguments import positive
from .bicubic import MARGIN as BICUBIC_MARGIN
from .cards import HELP, labelled, predictor
from .chart import STYLE, chart_format, label_dots, new_figure, save
from .timing import chunk_runs, process_seconds, processor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from openeo_superres.card import ModelCard

Row = dict[str, Any]
"""A model's measurements: ``parameters``, ``margin``, ``microseconds`` and the machine they were measured on;
``scenes``: per scene its figures in the main protocol, see :mod:`openeo_superres.evaluate.protocols`."""

GAINS = {"gain10": "10 m bands", "gain20": "20 m bands"}
MARKS = ("^", "v", "s", "D")


def measure(cards: Mapping[str, ModelCard], data: Path, *, size: int, repeat: int) -> dict[str, Row]:
    """Measure models and bicubic.

    Args:
        cards: By label.
        data: The data folder.
        size: Of the timed chunk, in 10 m pixels.
        repeat: Rounds of timing.

    Raises:
        OSError: If a development scene is not there.
    """
    # torch comes with them, and what only draws needs none
    from .datasets import DEVELOPMENT, development_scene  # noqa: PLC0415

    scenes = {scene: development_scene(scene, data) for scene in DEVELOPMENT}
    predictors = {label: predictor(card) for label, card in cards.items()}
    tables = {scene: measure_wald(wald_pair(*images), predictors) for scene, images in scenes.items()}
    every = {"bicubic": None, **cards}
    seconds = process_seconds(chunk_runs(every, size), repeat)
    return {
        label: {
            "sha256": card.sha256 if card else None,
            "parameters": card.parameters if card else 0,
            "margin": card.margin if card else BICUBIC_MARGIN,
            "microseconds": round(1e6 * seconds[label] / size**2, 3),
            "chunk": size,
            "processor": processor(),
            "onnxruntime": version("onnxruntime"),
            "scenes": {scene: table[label] for scene, table in tables.items()},
        }
        for label, card in every.items()
    }


def mean(row: Row, figure: str) -> float:
    """Mean of a figure over the scenes."""
    return float(np.mean([scene[figure] for scene in row["scenes"].values()]))


def merge(runs: Sequence[Mapping[str, Row]]) -> dict[str, Row]:
    """Join the measurements of several runs, cheapest model first; a later run replaces an earlier one.

    Raises:
        ValueError: If models were measured on different scenes, or timed on chunks of different size.
    """
    rows = {label: row for run in runs for label, row in run.items()}
    sizes = sorted({row["chunk"] for row in rows.values()})
    if len(sizes) > 1:
        # the smaller the chunk, the more of the time goes into its margin
        raise ValueError(f"Times can't be compared: all need chunks of one size, got {sizes}.")
    scenes = {label: sorted(row["scenes"]) for label, row in rows.items()}
    for label, names in scenes.items():
        if names != next(iter(scenes.values())):
            raise ValueError(f"Models can't be compared: all need the same scenes, {label} has {names}.")
    return dict(sorted(rows.items(), key=lambda item: item[1]["microseconds"]))


def non_dominated(rows: Mapping[str, Row], figure: str) -> list[str]:
    """Models with no other that is at least as good and as cheap and better in one; cheapest first."""
    points = {label: (row["microseconds"], -mean(row, figure)) for label, row in rows.items()}

    def dominated(point: tuple[float, float]) -> bool:
        return any(
            other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values()
        )

    return sorted((label for label in rows if not dominated(points[label])), key=points.__getitem__)


def table(rows: Mapping[str, Row]) -> str:
    """Markdown: a row per model; gains as their mean and, in brackets, each scene's."""
    scenes = list(next(iter(rows.values()))["scenes"])
    each = ", ".join(scenes)
    best = {figure: non_dominated(rows, figure) for figure in GAINS}
    heads = ["model", "parameters", "margin", "µs per 10 m pixel"]
    heads += [f"{bands}, dB ({each})" for bands in GAINS.values()]
    heads += ["consistency, DN", "on the frontier of"]
    lines = [heads, ["---", *["---:"] * 3, *["---"] * 4]]
    for label, row in rows.items():
        gains = []
        for figure in GAINS:
            of_scenes = ", ".join(f"{row['scenes'][scene][figure]:+.2f}" for scene in scenes)
            gains.append(f"{mean(row, figure):+.2f} ({of_scenes})")
        edge = ", ".join(bands for figure, bands in GAINS.items() if label in best[figure])
        facts = [label, f"{row['parameters']:,}", str(row["margin"]), f"{row['microseconds']:.2f}"]
        lines.append([*facts, *gains, f"{mean(row, 'consistency'):.2f}", edge])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def plot(rows: Mapping[str, Row]) -> Figure:
    """Gain against time, log x; a panel for the 10 m bands, one for the 20 m bands."""
    with mpl.rc_context(STYLE):
        figure = new_figure(13, 6.2)
        panels = figure.subplots(1, len(GAINS))
        for axes, (key, bands) in zip(panels, GAINS.items(), strict=True):
            _panel(axes, rows, key, bands)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
        figure.draw_without_rendering()
        for axes, key in zip(panels, GAINS, strict=True):
            times = [row["microseconds"] for row in rows.values()]
            gains = [mean(row, key) for row in rows.values()]
            label_dots(axes, list(rows), times, gains, _stairs(rows, key))
    return figure


def _stairs(rows: Mapping[str, Row], key: str) -> np.ndarray:
    """Corners of the frontier ``(n, 2)``: a gain holds until the next dearer model has a higher one."""
    best = [(rows[label]["microseconds"], mean(rows[label], key)) for label in non_dominated(rows, key)]
    corners = [best[0]]
    for (_, before), (time, gain) in pairwise(best):
        corners += [(time, before), (time, gain)]
    return np.array(corners)


def _panel(axes: Axes, rows: Mapping[str, Row], key: str, bands: str) -> None:
    times = np.array([row["microseconds"] for row in rows.values()])
    gains = np.array([[scene[key] for scene in row["scenes"].values()] for row in rows.values()])
    axes.set_xscale("log")
    # room for labels
    axes.set_xlim(times.min() / 2.5, times.max() * 10)
    axes.margins(y=0.1)
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.plot(*_stairs(rows, key).T, color="#d55e00", linewidth=1.5, label="frontier")
    axes.vlines(times, gains.min(axis=1), gains.max(axis=1), color="#aaaaaa", linewidth=0.8)
    for mark, scene, values in zip(MARKS, next(iter(rows.values()))["scenes"], gains.T, strict=False):
        axes.plot(times, values, mark, color="#aaaaaa", markersize=4, label=scene)
    axes.plot(times, gains.mean(axis=1), "o", color="black", markersize=6, label="mean of the scenes")
    axes.set_title(bands)
    axes.set_xlabel("process time on one core, µs per 10 m pixel")
    axes.set_ylabel("gain over bicubic in the RMSE, dB (Wald x2, 8 DN noise)")
    axes.xaxis.set_major_formatter("{x:g}")


def _read(path: Path) -> dict[str, Row]:
    """Measurements of an earlier run."""
    try:
        rows: dict[str, Row] = json.loads(path.read_text(encoding="utf-8"))
        merge([rows])
        table(rows)
    except (LookupError, TypeError, AttributeError, StopIteration, json.JSONDecodeError) as error:
        raise ValueError(f"{path} holds no measurements of training.frontier: {error!r}.") from error
    return rows


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.frontier", description=__doc__)
    parser.add_argument("models", nargs="*", help=f"to measure: {HELP}")
    parser.add_argument(
        "--from",
        dest="earlier",
        type=Path,
        action="append",
        default=[],
        metavar="JSON",
        help="measurements of an earlier run to join; without models nothing is measured",
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("SUPERRES_DATA"), help="data folder")
    parser.add_argument(
        "--size", type=positive(int), default=512, help="of the timed chunk, even (default: %(default)s)"
    )
    parser.add_argument(
        "--repeat", type=positive(int), default=5, help="rounds of timing (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    parser.add_argument("--plot", type=Path, help="draw them into this file (.svg or .png)")
    arguments = parser.parse_args()
    if not arguments.models and not arguments.earlier:
        parser.error("give models to measure, or measurements of an earlier run with --from")
    if arguments.size % 2:
        parser.error(
            f"--size: a chunk holds whole 20 m pixels, expected an even number, got {arguments.size}"
        )
    if arguments.models and arguments.data is None:
        parser.error("say where the data folder is: --data, or environment variable SUPERRES_DATA")
    try:
        if arguments.plot:
            chart_format(arguments.plot)
        # before what takes long
        for path in filter(None, (arguments.json, arguments.plot)):
            path.parent.mkdir(parents=True, exist_ok=True)
        runs = [_read(path) for path in arguments.earlier]
        if arguments.models:
            cards = labelled(arguments.models)
            runs.append(measure(cards, arguments.data, size=arguments.size, repeat=arguments.repeat))
        rows = merge(runs)
        if arguments.json:
            with replacing(arguments.json) as part:
                part.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        if arguments.plot:
            save(plot(rows), arguments.plot)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(table(rows))
    machines = sorted({row["processor"] for row in rows.values()})
    print(f"\nTimes: {'; '.join(machines)}. Gains: no proof of anything at 5 m, where there is no reference.")


if __name__ == "__main__":
    main()
