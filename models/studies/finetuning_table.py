"""What the fine-tuning study measures, by whether it knows the truth, and the table of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from openeo_superres.sensor import BANDS
from training.tables import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    Facts = dict[str, Any]

CHOSEN = ("x2", "x4")
"""Protocols: at x2 the 10 m bands have a truth on the output's grid, at x4 all bands."""
FINE = {
    resolution: [i for i, band in enumerate(BANDS) if band.resolution == resolution]
    for resolution in (10, 20)
}
"""Indices of the bands by resolution."""


class Measure(NamedTuple):
    """A line of the table."""

    title: str
    path: tuple[str, ...]
    """Keys among the facts of a scene: the protocol, or "native"; then, below the label, the others."""
    digits: int = 2
    unit: str = ""
    better: int = 1
    """1: more is better; -1: less."""


def _opensr(word: str, protocol: str, resolution: int, better: int) -> Measure:
    title = f"Wald {protocol}, opensr-test: {word}, {resolution} m bands"
    return Measure(title, (protocol, "opensr", str(resolution), word), 3, better=better)


KNOWING = (
    *(
        Measure(
            f"Wald {protocol}, gain over bicubic, {resolution} m bands",
            (protocol, f"gain{resolution}"),
            unit="dB",
        )
        for protocol in CHOSEN
        for resolution in FINE
    ),
    _opensr("improvement", "x2", 10, 1),
    _opensr("hallucination", "x2", 10, -1),
    _opensr("improvement", "x4", 20, 1),
    _opensr("hallucination", "x4", 20, -1),
)
"""Compared with the truth, pixel by pixel."""
BLIND = (
    Measure("Wald x2, FRR, 10 m bands", ("x2", "frr10"), 0, "%"),
    Measure("Wald x4, FRR, 10 m bands", ("x4", "frr10"), 0, "%"),
    Measure("Wald x4, FRR, 20 m bands", ("x4", "frr20"), 0, "%"),
    Measure("Wald x4, overshoot (FRO), 20 m bands", ("x4", "fro20"), 2, "%", -1),
    Measure("Wald x4, undershoot (FRU), 20 m bands", ("x4", "fru20"), 2, "%"),
    Measure("Wald x2, rise of edges, 10 m bands", ("x2", "rise10"), 2, "px", -1),
    Measure("5 m, rise of edges, 10 m bands", ("native", "rise10"), 2, "px", -1),
    Measure("Wald x2, consistency error", ("x2", "consistency"), 2, "DN", -1),
    Measure("5 m, consistency error", ("native", "consistency"), 2, "DN", -1),
    *(
        Measure(f"5 m, BRISQUE less bicubic's, {title}", ("native", "brisque", title), 1, better=-1)
        for title in ("true colour", "red edge", "SWIR")
    ),
)
"""Amplitudes, edges, statistics: where the detail lies does not matter to them."""


def figure_of(scene: Facts, asked: Measure, label: str) -> float | None:
    """A figure of a label; None where it has none, or where it was not measured."""
    place, *rest = asked.path
    value: Any = scene[place].get(label, {})
    for key in rest:
        value = value.get(key, {}) if isinstance(value, dict) else None
    return value if isinstance(value, float | int) else None


def report(facts: Facts) -> str:
    """Markdown: a row per measure, a column for bicubic, each model and the truth, one figure per scene."""
    labels = ["bicubic", *facts["weights"], "truth"]
    blocks = []
    for title, measures in (("compared with the truth", KNOWING), ("no matter where the detail lies", BLIND)):
        rows = [[title, *labels]]
        for asked in measures:
            figures = {
                label: [figure_of(scene, asked, label) for scene in facts["scenes"].values()]
                for label in labels
            }
            if any(value is not None for values in figures.values() for value in values):
                better = "more" if asked.better > 0 else "less"
                cells = [_cell(values, asked) for values in figures.values()]
                rows.append([f"{asked.title} ({better} is better)", *cells])
        blocks.append(table(rows))
    names = " / ".join(facts["scenes"])
    return f"{names}:\n\n" + "\n\n".join(blocks)


def _cell(values: Sequence[float | None], asked: Measure) -> str:
    numbers = " / ".join(f"{value:.{asked.digits}f}" for value in values if value is not None)
    return f"{numbers} {asked.unit}".strip() if numbers else ""
