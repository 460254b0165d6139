"""Options that several commands have, and what their texts mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .bandfile import band_name
from .card import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Iterable

MODEL = click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    help="Name of a shipped model, or the path of a card (.json).",
)
PROVIDER = click.option(
    "--provider",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the network runs.",
)
THREADS = click.option("--threads", type=click.IntRange(min=1), help="Default: every core.")
JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")
DATE = click.option("--date", metavar="YYYY-MM-DD", help="Which one, where SOURCE has several.")
VERIFY = click.option(
    "--verify", "check", is_flag=True, help="Compare a SAFE product's files with its checksums first."
)


def parse_bands(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> tuple[str, ...] | None:
    """Names of bands with commas in between; B2 is B02."""
    if text is None:
        return None
    names = [band_name(part) for part in text.split(",")]
    if wrong := [part for part, name in zip(text.split(","), names, strict=True) if name is None]:
        raise click.BadParameter(f"{', '.join(map(repr, wrong))} is no band; expected names such as B04,B08.")
    return tuple(str(name) for name in names)


def parse_masks(
    _context: click.Context, _option: click.Parameter, texts: Iterable[str]
) -> dict[str, tuple[int, ...]]:
    """Masks by name, each with numbers that have commas in between: SCL=3,8,9,10."""
    masks: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, numbers = text.partition("=")
        try:
            masks[name] = (*masks.get(name, ()), *(int(number) for number in numbers.split(",")))
        except ValueError:
            raise click.BadParameter(
                f"{text!r} is no NAME=N,...; expected such as SCL=3,8,9,10 or CLM=1."
            ) from None
    return masks


MASK = click.option(
    "--mask",
    multiple=True,
    callback=parse_masks,
    metavar="NAME=N,...",
    help="Make nodata of pixels that the product's own mask marks: SCL=3,8,9,10 by class, CLM=1 by the "
    "values of bits. inspect lists the masks. Repeatable.",
)
