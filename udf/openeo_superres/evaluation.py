"""The command that measures models on a scene, and writes a report of it."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.table import Table

from .card import DEFAULT_MODEL
from .console import progress, show
from .demo import SAMPLE
from .errors import OutputError, SceneError, SuperresError
from .evaluate.protocols import LIMIT, MAIN, PROTOCOLS
from .mask import hide
from .options import DATE, JSON, MASK, PROVIDER, THREADS
from .output import check_target, write_text
from .scene import open_scene
from .sensor import BANDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .card import ModelCard
    from .scene import Scene

    Facts = dict[str, Any]

EXTRA = ("skimage", "matplotlib", "jinja2")
"""Packages that the extra ``evaluate`` brings, and no other command needs."""


@click.command()
@click.argument("source", required=False)
@click.option(
    "--model",
    "models",
    multiple=True,
    default=[DEFAULT_MODEL],
    show_default=True,
    metavar="[LABEL=]MODEL",
    help="Name of a shipped model, or the path of a card (.json), with a label of its own before it. "
    "Repeatable. bicubic and cubic_mtf are compared always.",
)
@click.option(
    "--protocol",
    "protocols",
    type=click.Choice(list(PROTOCOLS)),
    multiple=True,
    help="How the scene is degraded to be compared with itself. Repeatable. Default: in all of these ways.",
)
@DATE
@click.option(
    "--window",
    type=int,
    nargs=4,
    metavar="COL ROW WIDTH HEIGHT",
    help="Part of the scene, in 10 m pixels, without nodata. Default: all of a small scene; else, near its "
    "middle, a part without nodata of at most 1024 x 1024 pixels.",
)
@click.option("--whole", is_flag=True, help="All of the scene, however large.")
@MASK
@PROVIDER
@THREADS
@click.option("--judges", is_flag=True, help="Ask BRISQUE and opensr-test, too, where they are installed.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default="evaluation.html",
    show_default=True,
    help="Report to write: one page that opens in any browser, offline.",
)
@click.option(
    "--facts",
    "facts_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="JSON to write, with every figure. Default: the report's name with .json.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@JSON
def evaluate(
    source: str | None,
    *,
    models: tuple[str, ...],
    output: Path,
    facts_file: Path | None,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure how far super-resolved pixels can be trusted, on SOURCE, a scene as run takes it.

    Without SOURCE it is the sample of a checkout. The scene is degraded, super-resolved and compared with
    itself (Wald protocols); super-resolved to 5 m, where there is no truth, it is compared with its input. A
    table is printed (with --json, the facts instead), a report and the facts are written.
    """
    _check_extra()
    from .evaluate.facts import measure  # noqa: PLC0415  (the other commands can do without)
    from .evaluate.models import labelled  # noqa: PLC0415
    from .evaluate.report import build_report  # noqa: PLC0415

    if options["whole"] and options["window"]:
        raise click.UsageError("Got --whole and --window; expected one of them.")
    cards = labelled(models)
    scene = hide(open_scene(_given(source), date=options.pop("date")), options["mask"])
    if not output.name:
        raise OutputError(f"{output} is a folder; expected the name of a file.")
    facts_file = facts_file or output.with_suffix(".json")
    _check_targets(output, facts_file, _inputs(scene, cards), overwrite=overwrite)
    with progress(f"Evaluating {', '.join(cards)}") as report:
        facts, views, spectra = measure(scene, cards, progress=report, **options)
    text = json.dumps(facts, indent=2)
    write_text(output, build_report(facts, views, spectra))
    write_text(facts_file, text + "\n")
    if as_json:
        click.echo(text)
        return
    show(_table(facts))
    click.echo(_about(facts))
    click.echo(f"{output}: the report\n{facts_file}: every figure")


# ---- what must be there before anything is measured


def _check_extra() -> None:
    for name in EXTRA:
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            raise SuperresError(
                f"The command evaluate needs {error.name}, which comes with the extra 'evaluate': "
                "pip install 'openeo-superres[evaluate]'."
            ) from error


def _given(source: str | None) -> str | Path:
    if source:
        return source
    if source is not None:
        raise SceneError("SOURCE is empty; expected a scene as run takes it, or no SOURCE for the sample.")
    if not SAMPLE.is_dir():
        raise SceneError(
            f"The sample scene is not in {SAMPLE}: it comes with the repository, not with the package. Run "
            "this in a checkout, or say which scene is to be judged."
        )
    return SAMPLE


def _inputs(scene: Scene, cards: Mapping[str, ModelCard]) -> list[Path]:
    """What is read, and never overwritten."""
    paths = [scene.path, *(file.path for file in scene.files), *(mask.file.path for mask in scene.hidden)]
    models = [path for card in cards.values() for path in (card.path, card.path.with_suffix(".json"))]
    return [*map(Path, paths), *models]


def _check_targets(report: Path, facts: Path, inputs: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse files that could not be written, before any work."""
    read = list(inputs)
    for target, suffixes in ((report, (".html", ".htm")), (facts, (".json",))):
        if target.suffix.lower() not in suffixes:
            raise OutputError(f"{target} has another name than expected: one that ends in {suffixes[0]}.")
        if not target.parent.is_dir():
            raise OutputError(f"The folder {target.parent} does not exist; make it first.")
        check_target(target, read, overwrite=overwrite)


# ---- what is said


def _about(facts: Facts) -> str:
    """Which part of which scene it was."""
    scene = facts["scene"]
    col, row, width, height = scene["window"]
    whole = "all of it" if [width, height] == scene["size"] else f"from column {col}, row {row}"
    return f"{scene['name']}: {width} x {height} pixels of 10 m, {whole}"


def _table(facts: Facts) -> Table:
    """A row per model: in the main protocol, and at 5 m."""
    protocol = MAIN if MAIN in facts["wald"] else next(iter(facts["wald"]))
    wald, native = facts["wald"][protocol], facts["native"]
    table = Table(
        "model",
        *(f"Wald {protocol}:\n{name}" for name in ("10 m bands", "20 m bands", "FRR, 10 m", "SSIM, 10 m")),
        *(f"at 5 m:\n{name}" for name in ("consistency", "edges, 10 m", "noise, 10 m", "NDVI error")),
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for label, own in native.items():
        judged = wald[label]
        table.add_row(
            escape(label),
            *(_number(judged[f"gain{group}"], "+.2f", " dB") for group in (10, 20)),
            _number(judged["frr10"], ".0f", " %"),
            _number(_mean(judged["ssim"], 10), ".3f"),
            _number(_mean(own["consistency"]), ".2f", " DN"),
            _number(_mean(own["rise"], 10), ".2f", " px"),
            _number(_mean(own["noise_gain"], 10), ".2f", " x"),
            _number(own["indices"]["NDVI"]["rmse"], ".4f"),
        )
    table.caption = (
        f"{LIMIT} dB: gain over bicubic in the RMSE. FRR: of the detail that bicubic lacks, what is there. "
        "Consistency: RMSE between the output, seen by the sensor again, and the input; NDVI error likewise. "
        "Edges: rise from 10 to 90 % in pixels of 5 m. Noise: how much stronger it is than in the input."
    )
    return table


def _mean(values: Mapping[str, float | None] | None, resolution: int | None = None) -> float | None:
    """Mean of what is known of the bands, or of those of a resolution."""
    names = [band.name for band in BANDS if resolution in {None, band.resolution}]
    known = [value for name in names if (value := (values or {}).get(name)) is not None]
    return sum(known) / len(known) if known else None


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "not known" if value is None else f"{value:{form}}{unit}"
