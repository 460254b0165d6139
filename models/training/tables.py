"""Write the figures of the model cards into the Markdown that shows them: each from its card, none by hand.

Tables stand between two marks: in a model's own card what ``openeo-superres evaluate`` measured of it, in the
README and in docs/models.md a row for each model. ``training.figures`` puts the figures into the cards.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openeo_superres.card import ModelCard, list_models, load_card
from openeo_superres.evaluate.protocols import MAIN
from openeo_superres.output import replacing
from openeo_superres.sensor import BAND_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    Figures = dict[str, Any]

BEGIN = "<!-- figures: python -m training.tables -->"
END = "<!-- end of figures -->"
MODELS = Path(__file__).parents[1]
OVERVIEWS = ("../README.md", "../docs/models.md")
"""Relative to the folder of the models."""


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown: the first row is the head, the first column text."""
    head, *body = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _gain(figures: Figures, group: int, baseline: Figures | None = None) -> str:
    """RMSE and gain of a group of bands, as in "54.5 DN, +3.89 dB (+2.44)"."""
    beside = f" ({baseline[f'gain{group}']:+.2f})" if baseline else ""
    return f"{figures[f'rmse{group}']:.1f} DN, {figures[f'gain{group}']:+.2f} dB{beside}"


def _restored(figures: Figures) -> str:
    """Frequency restoration rate of the 10 m bands, and of the 20 m bands where they have a truth."""
    rates = [f"{figures[key]:.0f} %" for key in ("frr10", "frr20") if key in figures]
    return ", ".join(rates)


def by_band(cards: Sequence[ModelCard], scene: str) -> str:
    """RMSE in DN of every band, for bicubic and the models, in the main protocol on a scene."""
    rows = [[f"{scene}, Wald {MAIN}", *BAND_NAMES, "10 m", "20 m", "consistency"]]
    every = {"bicubic": cards[0].figures[scene][MAIN]["bicubic"]}
    every |= {card.name: card.figures[scene][MAIN][card.name] for card in cards}
    for name, figures in every.items():
        errors = [f"{figures['rmse'][band]:.1f}" for band in BAND_NAMES]
        gains = [f"{figures[f'gain{group}']:+.2f} dB" for group in (10, 20)]
        rows.append([name, *errors, *gains, f"{figures['consistency']:.2f} DN"])
    return table(rows)


def by_protocol(card: ModelCard, baseline: ModelCard) -> str:
    """Figures in every protocol; in brackets, the gains of the baseline."""
    rows = [["scene", "protocol", "10 m bands", "20 m bands", "consistency", "FRR"]]
    for scene, protocols in card.figures.items():
        for protocol, found in protocols.items():
            ours, theirs = found[card.name], baseline.figures[scene][protocol][baseline.name]
            gains = [_gain(ours, group, None if card == baseline else theirs) for group in (10, 20)]
            rows.append([scene, protocol, *gains, f"{ours['consistency']:.2f} DN", _restored(ours)])
    return table(rows)


def overview(cards: Sequence[ModelCard]) -> str:
    """A row for each model, bicubic first, the others from the quickest to the slowest."""
    scenes = list(cards[0].figures)
    heads = [f"{group} m bands, {scene}" for scene in scenes for group in (10, 20)]
    rows = [["model", "parameters", "margin", "kpx/s", *heads, f"consistency, {scenes[0]}"]]
    bicubic = {scene: cards[0].figures[scene][MAIN]["bicubic"] for scene in scenes}
    errors = [f"{bicubic[scene][f'rmse{group}']:.1f} DN" for scene in scenes for group in (10, 20)]
    rows.append(["bicubic", "0", "", "", *errors, f"{bicubic[scenes[0]]['consistency']:.1f} DN"])
    for card in sorted(cards, key=lambda card: -(card.speed or 0)):
        figures = {scene: card.figures[scene][MAIN][card.name] for scene in scenes}
        gains = [f"{figures[scene][f'gain{group}']:+.2f} dB" for scene in scenes for group in (10, 20)]
        facts = [f"{card.parameters:,}", str(card.margin), f"{(card.speed or 0) / 1000:,.0f}"]
        rows.append([f"`{card.name}`", *facts, *gains, f"{figures[scenes[0]]['consistency']:.2f} DN"])
    return table(rows)


def filled(text: str, tables: str) -> str:
    """Text with what stands between the marks replaced.

    Raises:
        ValueError: If the marks are not there, once each and in order.
    """
    parts = re.split(f"{re.escape(BEGIN)}|{re.escape(END)}", text)
    if len(parts) != 3 or not text.partition(BEGIN)[2].count(END):
        raise ValueError(f"Expected one {BEGIN} and one {END} below it.")
    return f"{parts[0]}{BEGIN}\n\n{tables}\n\n{END}{parts[2]}"


def documents(folder: Path = MODELS) -> dict[Path, str]:
    """Every document with figures, and what it should say."""
    cards = {name: load_card(name) for name in list_models()}
    baseline = cards["cubic_mtf"]
    tables = {folder / path: overview(list(cards.values())) for path in OVERVIEWS}
    for name, card in cards.items():
        compared = [card] if card == baseline else [baseline, card]
        bands = "\n\n".join(by_band(compared, scene) for scene in card.figures)
        tables[folder / f"{name}.md"] = f"{bands}\n\n{by_protocol(card, baseline)}"
    return {path: filled(path.read_text(encoding="utf-8"), table) for path, table in tables.items()}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.tables", description=__doc__.split("\n")[0])
    parser.parse_args()
    try:
        for path, text in documents().items():
            with replacing(path) as part:
                part.write_text(text, encoding="utf-8")
            print(path.resolve())
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
