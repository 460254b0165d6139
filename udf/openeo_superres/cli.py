"""The command line: scenes on disk to Cloud Optimised GeoTIFFs at 5 m."""

from __future__ import annotations

import json
import logging
import math
import sys
import warnings
from typing import TYPE_CHECKING, Any

import click
import rasterio
from rich.table import Table

from . import __version__
from .__main__ import INTERRUPTED
from .builders import adopt_command, bundle_command, udp
from .card import list_models, load_card
from .console import complain, progress, show
from .demo import SAMPLE, demonstrate
from .errors import SuperresError
from .evaluation import evaluate
from .options import JSON, MODEL, PROVIDER, THREADS
from .products import inspect, run

if TYPE_CHECKING:
    from .card import ModelCard


class OneLineErrors(click.Group):
    """A group of commands whose users' mistakes end in one line on stderr and exit status 2."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command and exit: see :meth:`click.Command.main`."""
        extra["standalone_mode"] = False
        # GDAL logs what it has to say while an Env is open; it stands in the errors that are raised, too
        logging.getLogger("rasterio").addHandler(logging.NullHandler())
        try:
            with rasterio.Env(), warnings.catch_warnings():  # type: ignore[no-untyped-call]
                warnings.showwarning = lambda message, *_, **__: complain("Warning", message)
                sys.exit(super().main(*args, **extra))
        except click.ClickException as error:
            complain("Error", error.format_message())
        except (SuperresError, OSError, MemoryError) as error:
            complain("Error", error)
        sys.exit(2)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command: see :meth:`click.Command.invoke`."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            complain("Interrupted", "nothing was left half-written.")
            ctx.exit(INTERRUPTED)


@click.group(
    cls=OneLineErrors,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="openeo-superres")
@click.pass_context
def main(context: click.Context) -> None:
    """Super-resolution of Sentinel-2: ten bands in, the same ten bands at 5 m out."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (run, inspect, evaluate, udp, bundle_command, adopt_command):
    main.add_command(command)


@main.command()
@JSON
def models(*, as_json: bool) -> None:
    """List the shipped models; margin is the context in 10 m pixels that a pixel's value depends on."""
    cards = [load_card(name) for name in list_models()]
    if as_json:
        facts = ("name", "scale", "parameters", "margin", "bands", "sha256", "speed", "figures")
        click.echo(json.dumps([{fact: getattr(card, fact) for fact in facts} for card in cards], indent=2))
        return
    scenes = list(dict.fromkeys(scene for card in cards for scene in card.figures))
    table = Table("name", "scale", "parameters", "margin", "kpx/s", *(f"dB on {scene}" for scene in scenes))
    table.caption = (
        "kpx/s: thousands of 10 m pixels a second, on one core of the machine that measured it. "
        "dB: gain over bicubic of the 10 m and 20 m bands, Wald x2. It proves nothing at 5 m."
    )
    for card in cards:
        gains = (_gains(card, scene) for scene in scenes)
        speed = f"{card.speed / 1000:,.0f}" if card.speed else ""
        table.add_row(card.name, str(card.scale), f"{card.parameters:,}", str(card.margin), speed, *gains)
    show(table)


def _gains(card: ModelCard, scene: str) -> str:
    """What a card says of the main protocol on a scene; nothing where it was not measured."""
    figures = card.figures.get(scene, {}).get("x2", {}).get(card.name)
    return f"{figures['gain10']:+.2f}, {figures['gain20']:+.2f}" if figures else ""


@main.command()
@click.option("--output", default="demo", show_default=True, help="Folder to write into.")
@click.option("--sample", default=str(SAMPLE), show_default=True, help="Folder of the sample scene.")
@MODEL
@PROVIDER
@THREADS
def demo(output: str, **options: Any) -> None:
    """Super-resolve the sample scene, with a picture that compares it with bicubic.

    Files of an earlier run are replaced.
    """
    with progress("Super-resolving the sample") as report:
        made = demonstrate(output, progress=report, **options)
    click.echo(f"Super-resolved {made.scene} with {made.model} in {made.seconds:.1f} s:")
    click.echo(f"  {made.raster}  the super-resolved bands")
    click.echo(f"  {made.picture}  bicubic and {made.model} side by side")
    click.echo("Consistency error: the output as the sensor would see it, against the input (RMSE in DN)")
    for name, error in ((made.model, made.model_error), ("bicubic", made.bicubic_error)):
        kinds = {"10 m bands": error.fine, "20 m bands": error.coarse}
        there = (f"{kind} {value:6.2f}" for kind, value in kinds.items() if not math.isnan(value))
        click.echo(f"  {name:<12} {'   '.join(there)}")
