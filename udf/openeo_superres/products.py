"""Commands on products: what one is, and its bands at 5 m."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from .batch import Batch, find_products, placed
from .card import load_card
from .cog import ENCODINGS
from .console import complain, progress, reason, show
from .options import DATE, JSON, MASK, MODEL, PROVIDER, THREADS, VERIFY, parse_bands
from .readers.manifest import verify
from .scene import open_scenes
from .space import output_bytes, peak_bytes
from .stream import open_model
from .trust import calibration
from .udf import PIXEL, SuperresError

if TYPE_CHECKING:
    from .batch import Result
    from .card import ModelCard
    from .grid import Scene


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1)
@click.argument("output", type=click.Path(path_type=Path))
@MODEL
@DATE
@click.option(
    "--window", type=int, nargs=4, metavar="COL ROW WIDTH HEIGHT", help="Part of the scene, in 10 m pixels."
)
@click.option("--bbox", type=float, nargs=4, metavar="W S E N", help="Part of the scene, in --crs.")
@click.option("--crs", metavar="EPSG:n", help="Of --bbox. Default: the scene's.")
@click.option(
    "--area",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Part of the scene: the bounding box, in its CRS, of what a GeoJSON file holds. "
    "Outside the shapes, but inside the box, pixels stay.",
)
@MASK
@click.option("--bands", callback=parse_bands, metavar="B04,B08,...", help="Bands to write, in this order.")
@click.option(
    "--compare", type=click.Choice(["bicubic"]), help="Write this too, as <OUTPUT>_bicubic.tif, to compare."
)
@click.option(
    "--uncertainty",
    is_flag=True,
    help="Write how far each pixel may be off, too, as <OUTPUT>_uncertainty.tif: half of the interval that "
    "covers 90 % at the Wald scale. Nothing is proven at 5 m.",
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
@VERIFY
@click.option("--overwrite", is_flag=True, help="Replace existing results.")
@click.option("--skip-existing", is_flag=True, help="Leave out what has a complete result already.")
@JSON
def run(sources: tuple[str, ...], output: Path, *, as_json: bool, **options: Any) -> None:
    """Super-resolve each SOURCE into a Cloud Optimised GeoTIFF, with a STAC item and a QGIS style beside.

    SOURCE is a product of ESA (SAFE) or Theia, folder or zip; a NetCDF cube; a GeoTIFF that names its
    bands; one of a pair of GeoTIFFs named alike but for 10m and 20m; a folder with such a pair or with one
    file per band; or a folder that holds several of these.

    OUTPUT is a .tif for one result, or a folder for any number of them, named <source>_SR5M_<model>.tif. A
    SOURCE that fails does not stop the others; the exit status is then 2.
    """
    if not sources:
        raise click.UsageError(f"Got {output} alone; expected SOURCE, one or several, and OUTPUT.")
    if options["overwrite"] and options["skip_existing"]:
        raise click.UsageError("Got --overwrite and --skip-existing; expected one of them.")
    card = load_card(options.pop("model"))
    if options["uncertainty"]:
        calibration(card)
    open_model(card, options["provider"], options["threads"])
    products = placed(find_products(sources, card.bands, date=options.pop("date")), output)
    batch = Batch(output, card, **options)
    said: list[dict[str, Any]] = []
    failed = False
    for number, product in enumerate(products, 1):
        name = Path(product.source).name if isinstance(product.found, SuperresError) else product.found.name
        try:
            with progress(f"{number}: {name}") as report:
                result = batch.run(product, report)
        except (SuperresError, OSError, MemoryError) as error:
            failed = True
            complain("Error", error)
            said.append({"source": product.source, "error": reason(error)})
            continue
        said.append(result.facts())
        if not as_json:
            click.echo(_line(result))
    if as_json:
        click.echo(json.dumps(said, indent=2))
    if failed:
        click.get_current_context().exit(2)


def _line(result: Result) -> str:
    if result.skipped:
        return f"{result.path}: there already"
    verified = "" if result.verified is None else f", {result.verified} files verified"
    return f"{result.path}: {decimal(result.size)}, {result.seconds:.1f} s{verified}"


@click.command()
@click.argument("source")
@MODEL
@DATE
@VERIFY
@JSON
def inspect(source: str, *, model: str, date: str | None, check: bool, as_json: bool) -> None:
    """Say what SOURCE was recognised as, and how large the model's output would be."""
    card = load_card(model)
    scenes = [scene for scene in open_scenes(source, card.bands) if (scene.date or "").startswith(date or "")]
    if not scenes:
        raise click.UsageError(f"{source} has nothing of {date}; leave --date out to see its dates.")
    facts = _facts(scenes[0], card)
    if len(scenes) > 1:
        facts["date"] = [scene.date for scene in scenes]
    if check:
        facts["verified"] = verify(source)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    table = Table(show_header=False, box=None)
    for name, fact in _words(facts, card).items():
        table.add_row(name, "not known" if fact is None else escape(str(fact)))
    show(table)


def _facts(scene: Scene, card: ModelCard) -> dict[str, Any]:
    """What is known of a scene, and of what a model would make of it."""
    nodata = None if scene.nodata is None or math.isnan(scene.nodata) else scene.nodata
    width, height, scale = scene.width, scene.height, card.scale
    sizes, peaks = (
        {dtype: size(width, height, scale=scale, bands=len(card.bands), dtype=dtype) for dtype in ENCODINGS}
        for size in (output_bytes, peak_bytes)
    )
    return {
        "path": scene.path,
        "name": scene.name,
        "type": scene.kind,
        "level": scene.level,
        "baseline": scene.baseline,
        "date": scene.date,
        "crs": scene.crs.to_string() if scene.crs else None,
        "bounds": list(scene.bounds),
        "width": scene.width,
        "height": scene.height,
        "dtype": scene.dtype,
        "nodata": nodata,
        "offset": scene.offset,
        "bands": {file.band: {"file": file.name, "resolution": 10 * file.step} for file in scene.files},
        "masks": list(scene.masks),
        "output": {
            "width": scale * width,
            "height": scale * height,
            "uncompressed_bytes": sizes,
            "temporary_bytes": peaks,
            "free_bytes": shutil.disk_usage(Path()).free,
        },
    }


def _words(facts: dict[str, Any], card: ModelCard) -> dict[str, Any]:
    """Facts for people."""
    output = facts.pop("output")
    sizes, peaks = (
        ", ".join(f"{decimal(size)} as {dtype}" for dtype, size in output[kind].items())
        for kind in ("uncompressed_bytes", "temporary_bytes")
    )
    if isinstance(facts["date"], list):
        facts["date"] = ", ".join(date or "not known" for date in facts["date"])
    if isinstance(facts["offset"], dict):
        facts["offset"] = ", ".join(f"{band} {offset:+g}" for band, offset in facts["offset"].items())
    facts["bands"] = ", ".join(f"{band} ({there['resolution']} m)" for band, there in facts["bands"].items())
    facts["masks"] = ", ".join(facts["masks"]) or "none"
    facts["size"] = f"{facts.pop('width')} x {facts.pop('height')} pixels of 10 m"
    pixels = f"{output['width']} x {output['height']} pixels of {PIXEL / card.scale:g} m"
    facts["output"] = f"{pixels}; uncompressed {sizes}"
    facts["disk"] = f"about {peaks} while it is made; {decimal(output['free_bytes'])} free here"
    if "verified" in facts:
        facts["verified"] = f"{facts['verified']} files are as the manifest's checksums say"
    return facts
