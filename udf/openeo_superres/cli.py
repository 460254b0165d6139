"""The command line: scenes on disk to Cloud Optimised GeoTIFFs at 5 m."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import rasterio
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from . import __version__
from .__main__ import INTERRUPTED
from .bundle import DEFAULT_SIZE, PLACEHOLDER, PUBLIC_ONNXRUNTIME, bundle
from .card import DEFAULT_MODEL, list_models, load_card
from .cog import ENCODINGS
from .demo import SAMPLE, demonstrate
from .errors import OutputError, SuperresError
from .output import replacing
from .process import RUNTIMES, build_process
from .raster import superresolve_scene
from .scene import Scene, open_scene
from .space import output_bytes
from .udf import PIXEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
                warnings.showwarning = lambda message, *_, **__: _complain("Warning", message)
                sys.exit(super().main(*args, **extra))
        except click.ClickException as error:
            _complain("Error", error.format_message())
        except (SuperresError, OSError) as error:
            _complain("Error", error)
        except MemoryError:
            _complain("Error", "Memory is short: give --window a part of the scene, or use fewer --threads.")
        sys.exit(2)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command: see :meth:`click.Command.invoke`."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _complain("Interrupted", "nothing was left half-written.")
            ctx.exit(INTERRUPTED)


def _complain(kind: str, message: object) -> None:
    click.echo(f"{kind}: {' '.join(str(message).split())}", err=True)


@contextmanager
def _progress(text: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _show(table: Table) -> None:
    console = Console()
    # a file or a pipe has no width to keep to
    (console if console.is_terminal else Console(width=200)).print(table)


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


@main.command()
@click.argument("source")
@click.argument("output", type=click.Path(path_type=Path))
@MODEL
@click.option(
    "--window", type=int, nargs=4, metavar="COL ROW WIDTH HEIGHT", help="Part of the scene, in 10 m pixels."
)
@click.option("--bbox", type=float, nargs=4, metavar="W S E N", help="Part of the scene, in --crs.")
@click.option("--crs", metavar="EPSG:n", help="Of --bbox. Default: the scene's.")
@click.option(
    "--compare", type=click.Choice(["bicubic"]), help="Write this too, as <OUTPUT>_bicubic.tif, to compare."
)
@PROVIDER
@THREADS
@click.option(
    "--dtype",
    type=click.Choice(list(ENCODINGS)),
    default="int16",
    show_default=True,
    help="int16: DN, nodata -32768. uint16: DN + 1000, nodata 0. float32: DN, nodata NaN.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing OUTPUT.")
def run(source: str, output: Path, **options: Any) -> None:
    """Super-resolve SOURCE into the Cloud Optimised GeoTIFF OUTPUT.

    SOURCE is a GeoTIFF that names its bands, the model's among them, one of a pair of GeoTIFFs named alike
    but for 10m and 20m, or a folder with such a pair or with one file per band. If OUTPUT is a folder, the
    file in it is named after SOURCE and the model.
    """
    started = time.perf_counter()
    with _progress("Super-resolving") as progress:
        written = superresolve_scene(source, output, progress=progress, **options)
    seconds = time.perf_counter() - started
    click.echo(f"{written}: {decimal(written.stat().st_size)}, {seconds:.1f} s")


@main.command()
@click.argument("source")
@MODEL
@JSON
def inspect(source: str, *, model: str, as_json: bool) -> None:
    """Say what SOURCE was recognised as, and how large the model's output would be."""
    card = load_card(model)
    facts = _facts(open_scene(source, card.bands), card)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    output = facts.pop("output")
    sizes = (f"{decimal(size)} as {dtype}" for dtype, size in output["uncompressed_bytes"].items())
    facts["bands"] = ", ".join(f"{band} ({there['resolution']} m)" for band, there in facts["bands"].items())
    facts["size"] = f"{facts.pop('width')} x {facts.pop('height')} pixels of 10 m"
    pixels = f"{output['width']} x {output['height']} pixels of {PIXEL / card.scale:g} m"
    facts["output"] = f"{pixels}; uncompressed {', '.join(sizes)}"
    table = Table(show_header=False, box=None)
    for name, fact in facts.items():
        table.add_row(name, "not known" if fact is None else escape(str(fact)))
    _show(table)


def _facts(scene: Scene, card: ModelCard) -> dict[str, Any]:
    """What is known of a scene, and of what a model would make of it."""
    nodata = None if scene.nodata is None or math.isnan(scene.nodata) else scene.nodata
    width, height, scale = scene.width, scene.height, card.scale
    sizes = {
        dtype: output_bytes(width, height, scale=scale, bands=len(card.bands), dtype=dtype)
        for dtype in ENCODINGS
    }
    return {
        "path": scene.path,
        "type": scene.kind,
        "level": scene.level,
        "crs": scene.crs.to_string() if scene.crs else None,
        "bounds": list(scene.bounds),
        "width": scene.width,
        "height": scene.height,
        "dtype": scene.dtype,
        "nodata": nodata,
        "offset": scene.offset,
        "bands": {file.band: {"file": file.name, "resolution": 10 * file.step} for file in scene.files},
        "output": {"width": scale * width, "height": scale * height, "uncompressed_bytes": sizes},
    }


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
    _show(table)


def _gains(card: ModelCard, scene: str) -> str:
    """What a card says of the main protocol on a scene; nothing where it was not measured."""
    figures = card.figures.get(scene, {}).get("x2", {}).get(card.name)
    return f"{figures['gain10']:+.2f}, {figures['gain20']:+.2f}" if figures else ""


@main.command()
@MODEL
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write. Default: stdout.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option("--id", "process_id", help="Of the process. Default: sentinel2_superresolution_<model>.")
@click.option("--collection", "collection_id", default="SENTINEL2_L2A", show_default=True)
@click.option("--mode", type=click.Choice(list(RUNTIMES)), default="grid", show_default=True)
@click.option("--size", type=int, default=DEFAULT_SIZE, show_default=True, help="Of chunks, in 10 m pixels.")
@click.option(
    "--weights",
    default="auto",
    show_default=True,
    help="inline, the URL of a model archive (see bundle), or auto: inline if they are small.",
)
@click.option(
    "--onnxruntime",
    default=PUBLIC_ONNXRUNTIME,
    show_default=True,
    help="URL of an archive with onnxruntime; none: the back-end's image has it.",
)
@click.option(
    "--offset", type=float, default=0, show_default=True, help="Makes the collection's numbers harmonised DN."
)
def udp(output: Path | None, *, overwrite: bool, onnxruntime: str, **options: Any) -> None:
    """Write the openEO process that loads and super-resolves Sentinel-2.

    It is JSON, ready to paste into the openEO Web Editor, to save as a user-defined process, or to publish
    under a URL. Parameters: spatial_extent, temporal_extent, max_cloud_cover.
    """
    process = build_process(onnxruntime=None if onnxruntime == "none" else onnxruntime, **options)
    text = json.dumps(process, indent=2)
    if output is None:
        click.echo(text)
    else:
        _write_text(output, text + "\n", overwrite=overwrite)
        click.echo(f"{output}: process {process['id']}, {decimal(len(text) + 1)}")


def _write_text(path: Path, text: str, *, overwrite: bool) -> None:
    """Write a file that appears whole or not at all."""
    if path.exists() and not overwrite:
        raise OutputError(f"{path} is there already: give --overwrite to replace it, or another name.")
    try:
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} can't be written: {error.strerror}.") from error


@main.command("bundle")
@click.option("-o", "--output", required=True, help="Folder to write into; earlier archives are replaced.")
@MODEL
@click.option("--url", default=PLACEHOLDER, show_default=True, help="Where the archives will be found.")
@click.option(
    "--wheel", type=click.Path(path_type=Path), help="An onnxruntime wheel. Default: one is downloaded."
)
@JSON
def bundle_command(output: str, *, as_json: bool, **options: Any) -> None:
    """Write what a back-end needs beside the UDF: archives of the model and of onnxruntime.

    They are for Python 3.11 on Linux, and reproducible. Put them where the back-end can fetch them.
    """
    made = bundle(output, **options)
    archives = (made.model, made.onnxruntime)
    if as_json:
        facts = [{"path": str(one.path), "sha256": one.sha256, "size": one.size} for one in archives]
        click.echo(
            json.dumps(
                {"archives": facts, "weights": made.weights, "job_options": made.job_options}, indent=2
            )
        )
        return
    for archive in archives:
        click.echo(f"{archive.path}  {decimal(archive.size)}  SHA-256 {archive.sha256}")
    click.echo(f"weights = {json.dumps(made.weights)}")
    click.echo(f"job_options = {json.dumps(made.job_options, indent=4)}")


@main.command("adopt")
@click.argument("source", metavar="MODEL.yaml", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, help="Folder for the ONNX file and its card.")
@click.option(
    "--consistency/--no-consistency",
    default=False,
    show_default=True,
    help="Add the layer that makes the output give the input back; without, pixels are as published.",
)
@click.option("--license", "licence", metavar="SPDX", help="Of the weights. Default: unknown.")
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
def adopt_command(source: Path, output: str, **options: Any) -> None:
    """Wrap a public EVOLAND model (YAML, with its ONNX file beside) as a model of this package.

    Its margin is computed from its graph. The card that is written, DIR/<name>.json, is a --model everywhere.
    """
    # onnx takes a third of a second that other commands need not wait for
    from .adopt import adopt, summary  # noqa: PLC0415

    click.echo(summary(adopt(source, output, **options)))


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
    with _progress("Super-resolving the sample") as progress:
        made = demonstrate(output, progress=progress, **options)
    click.echo(f"Super-resolved {made.scene} with {made.model} in {made.seconds:.1f} s:")
    click.echo(f"  {made.raster}  the super-resolved bands")
    click.echo(f"  {made.picture}  bicubic and {made.model} side by side")
    click.echo("Consistency error: the output as the sensor would see it, against the input (RMSE in DN)")
    for name, error in ((made.model, made.model_error), ("bicubic", made.bicubic_error)):
        kinds = {"10 m bands": error.fine, "20 m bands": error.coarse}
        there = (f"{kind} {value:6.2f}" for kind, value in kinds.items() if not math.isnan(value))
        click.echo(f"  {name:<12} {'   '.join(there)}")
