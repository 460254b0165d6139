"""Commands that build things: processes and archives for back-ends, models of others in our contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.filesize import decimal

from .bundle import DEFAULT_SIZE, PLACEHOLDER, PUBLIC_ONNXRUNTIME, bundle
from .errors import OutputError
from .options import JSON, MODEL
from .output import write_text
from .process import RUNTIMES, build_process


@click.command()
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
        if output.exists() and not overwrite:
            raise OutputError(f"{output} is there already: give --overwrite to replace it, or another name.")
        write_text(output, text + "\n")
        click.echo(f"{output}: process {process['id']}, {decimal(len(text) + 1)}")


@click.command("bundle")
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


@click.command("adopt")
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
