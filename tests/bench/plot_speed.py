"""Draw the speed of every model by the engine and the public way, from the figures of run_engine.py.

    python tests/bench/plot_speed.py tests/bench/figures/engine.json docs/images/speed.svg

Needs matplotlib: ``make train-setup``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

ENGINE, PUBLIC, INK = "#1b6ca8", "#b9c3cc", "#333333"


def plot(rows: Sequence[dict[str, Any]], target: Path, cores: int = 1) -> None:
    """Draw a pair of bars for each model, kept pixels a second on a logarithmic axis."""
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    rates = {(row["model"], row["way"]): row["rate"] / 1000 for row in rows if row["cores"] == cores}
    models = sorted({name for name, _ in rates}, key=lambda name: rates[name, "engine"])
    # the same figures give the same bytes
    with mpl.rc_context({"svg.hashsalt": "speed", "font.size": 9, "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 0.75 + 0.55 * len(models)), layout="constrained")
        axes = figure.add_subplot()
        for place, (way, colour) in {0.19: ("engine", ENGINE), -0.19: ("public", PUBLIC)}.items():
            label = {"engine": "this engine", "public": "same network, driven the public tool's way"}[way]
            values = [rates[name, way] for name in models]
            heights = [index + place for index in range(len(models))]
            axes.barh(heights, values, 0.36, color=colour, label=label)
            for height, value in zip(heights, values, strict=True):
                text = f" {value:,.0f}" if value >= 100 else f" {value:,.1f}"
                axes.text(value, height, text, va="center", color=INK)
        axes.set_xscale("log")
        axes.set_xlim(1, 3 * max(rates.values()))
        axes.set_yticks(range(len(models)), models)
        axes.set_xlabel(f"thousands of 10 m pixels a second, {cores} core{'s' if cores > 1 else ''}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower right", frameon=False)
        figure.savefig(target, format="svg", metadata={"Date": None})


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figures", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--cores", type=int, default=1)
    arguments = parser.parse_args()
    rows = json.loads(arguments.figures.read_text(encoding="utf-8"))["rows"]
    plot(rows, arguments.target, arguments.cores)


if __name__ == "__main__":
    main()
