"""Where a study's figures go: JSON, a picture, and the page of the documentation that shows both.

What a page says in figures stands between two marks and is written by the study's command, never by hand.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openeo_superres.output import write_text
from training.chart import chart_format, save

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from openeo_superres.card import ModelCard

FIGURES = Path(__file__).parent / "figures"
DOCS = Path(__file__).parents[2] / "docs"
END = "<!-- end of figures -->"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command line say where figures go: ``--json``, ``--plot`` and ``--publish``."""
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, help="write the picture to this file (.svg or .png)")
    parser.add_argument(
        "--publish", action="store_true", help="write figures, picture and page of this documentation"
    )


def heading(cards: Mapping[str, ModelCard] | None = None) -> dict[str, Any]:
    """What every file of figures begins with.

    Args:
        cards: Of the models that were measured, by label: the SHA-256 of their weights tells whether the
            figures are still theirs.
    """
    begin = {"format": 1, "software": f"openeo-superres {version('openeo-superres')}"}
    return begin | ({"weights": {label: card.sha256 for label, card in cards.items()}} if cards else {})


def check(arguments: argparse.Namespace) -> None:
    """See that the files can be written, before what takes long.

    Raises:
        ValueError: If the picture's name ends in something else than .svg or .png.
        OSError: If a folder can't be made.
    """
    if arguments.plot:
        chart_format(arguments.plot)
    for path in (arguments.json, arguments.plot):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)


def deliver(
    arguments: argparse.Namespace, name: str, *, page: str, facts: dict[str, Any], figure: Figure, text: str
) -> None:
    """Write what was asked for, and say where it is.

    Args:
        arguments: With those of :func:`add_arguments`.
        name: Of the study.
        page: Of the documentation.
        facts: The figures.
        figure: The picture.
        text: What the page says between its marks.

    Raises:
        ValueError: If the page has no such marks.
        OSError: If a file can't be written.
    """
    jsons, plots = [arguments.json], [arguments.plot]
    if arguments.publish:
        jsons.append(FIGURES / f"{name}.json")
        plots.append(DOCS / "images" / f"{name}.svg")
        path = DOCS / page
        _write(path, filled(path.read_text(encoding="utf-8"), name, text))
        print(path)
    for path in filter(None, jsons):
        _write(path, text_of(facts))
        print(path)
    for path in filter(None, plots):
        path.parent.mkdir(parents=True, exist_ok=True)
        print(save(figure, path))


def text_of(facts: dict[str, Any]) -> str:
    """JSON that people can read: what has parts in lines below each other, lists of numbers in one."""
    text = json.dumps(facts, indent=1)
    return re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text) + "\n"


def begin(name: str) -> str:
    """The mark before the figures of a study."""
    return f"<!-- figures: python -m studies.{name} -->"


def filled(text: str, name: str, figures: str) -> str:
    """A page with what stands between the marks of a study replaced.

    Raises:
        ValueError: If the marks are not there, once.
    """
    before, mark, after = text.partition(begin(name))
    _, end, rest = after.partition(END)
    if not mark or not end or begin(name) in after:
        raise ValueError(f"Expected one {begin(name)} and {END} below it.")
    return f"{before}{mark}\n\n{figures}\n\n{end}{rest}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
