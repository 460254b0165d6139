"""Put figures that ``openeo-superres evaluate`` wrote into the cards of the models, bicubic's beside.

A card gets the main ones, scene by scene; the files have all of them. With --speed, what a pixel costs is
measured anew, too.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openeo_superres.card import ModelCard, list_models, load_card
from openeo_superres.output import write_text

from .memory import bytes_per_pixel
from .timing import chunk_runs, process_seconds, processor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Facts = dict[str, Any]

ERRORS = ("rmse", "rmse10", "rmse20", "gain10", "gain20", "consistency")
SPECTRAL = ("frr10", "fro10", "fru10", "frr20", "fro20", "fru20")
"""Keys of a protocol's figures that go into cards; of the 20 m bands where they have a truth."""


def read_facts(path: Path) -> Facts:
    """Facts that ``openeo-superres evaluate`` wrote.

    Raises:
        ValueError: If the file holds something else.
        OSError: If it can't be read.
    """
    said = f"{path} holds no facts that openeo-superres evaluate wrote"
    try:
        facts: Facts = json.loads(path.read_text(encoding="utf-8"))
        labels = ["bicubic", *facts["models"]]
        tables = [table[label] for table in facts["wald"].values() for label in labels]
        missing = {key for figures in tables for key in ERRORS if key not in figures}
        if missing or not facts["scene"]["name"]:
            raise ValueError(f"{said}: {', '.join(sorted(missing)) or 'the name of the scene'} is missing.")
    except (LookupError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{said}: {error!r}.") from error
    return facts


def card_figures(facts: Facts, card: ModelCard) -> dict[str, dict[str, Any]]:
    """What goes into a model's card of a scene: by protocol, bicubic's figures and the model's.

    Raises:
        ValueError: If the model is not there, or was another one.
    """
    scene = facts["scene"]["name"]
    labels = [label for label, model in facts["models"].items() if model["name"] == card.name]
    if not labels:
        raise ValueError(f"The facts of {scene} have no model {card.name}: {', '.join(facts['models'])}.")
    label = next((name for name in labels if facts["models"][name]["sha256"] == card.sha256), None)
    if label is None:
        raise ValueError(f"The facts of {scene} are of other weights of {card.name}: evaluate it again.")
    return {
        protocol: {
            name: {key: table[of][key] for key in (*ERRORS, *SPECTRAL) if key in table[of]}
            for name, of in (("bicubic", "bicubic"), (card.name, label))
        }
        for protocol, table in facts["wald"].items()
    }


def speed(card: ModelCard, size: int = 512, repeat: int = 7) -> dict[str, object]:
    """10 m pixels per second of process time on one core, for a chunk of ``size`` with its margin."""
    seconds = process_seconds(chunk_runs({card.name: card}, size), repeat)[card.name]
    return {
        "pixels_per_second": round(size**2 / seconds, -3),
        "cores": 1,
        "chunk": size,
        "processor": processor(),
        "onnxruntime": version("onnxruntime"),
    }


def write_card(card: ModelCard, properties: Mapping[str, Any], figures: Mapping[str, Any]) -> Path:
    """Put properties and figures into a card; figures of scenes that are not among these stay."""
    path = card.path.with_suffix(".json")
    item = json.loads(path.read_text(encoding="utf-8"))
    item["properties"].update(properties)
    item["properties"].setdefault("superres:figures", {}).update(figures)
    write_text(path, json.dumps(item, indent=2) + "\n")
    return path


def costs(card: ModelCard) -> dict[str, Any]:
    """Speed and memory, as a card's properties."""
    return {
        "superres:speed": speed(card),
        "superres:memory": {"bytes_per_pixel": bytes_per_pixel(card)},
    }


def _asked(models: Sequence[str], files: Mapping[Path, Facts]) -> list[ModelCard]:
    """The cards to write: those that were asked for, else every shipped model that the files have."""
    there = {model["name"] for facts in files.values() for model in facts["models"].values()}
    return [load_card(name) for name in models or [name for name in list_models() if name in there]]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.figures", description=__doc__.split("\n\n")[0])
    parser.add_argument("facts", type=Path, nargs="+", help="files that openeo-superres evaluate wrote")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help="shipped model or card (.json) to write; default: every shipped one that the files have",
    )
    parser.add_argument("--speed", action="store_true", help="measure speed and memory, too")
    arguments = parser.parse_args()
    try:
        files = {path: read_facts(path) for path in arguments.facts}
        cards = _asked(arguments.model, files)
        # before any is written
        figures = [
            {facts["scene"]["name"]: card_figures(facts, card) for facts in files.values()} for card in cards
        ]
        for card, found in zip(cards, figures, strict=True):
            print(write_card(card, costs(card) if arguments.speed else {}, found))
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
