"""Choose among the candidates of a fine-tuning: the one whose images at 5 m look most natural (BRISQUE).

It knows nothing of truth (:mod:`openeo_superres.evaluate.judges`), so radiometry has to be kept besides.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError

from openeo_superres.evaluate import Image, bicubic, consistency
from openeo_superres.evaluate.judges import brisque, pictures
from openeo_superres.picture import COMPOSITES

from .arguments import positive
from .checkpoint import read_checkpoint, read_state, write_checkpoint
from .datasets import DEVELOPMENT, development_scene
from .export import load_average
from .pattern import phase_deviations

if TYPE_CHECKING:
    from collections.abc import Sequence

CONSISTENCY = 2.0
"""Largest consistency error of a choice, in DN."""
PATTERN = 2.5
"""The same of what follows the grid; the development scenes themselves have up to 1.3 DN of it."""
EDGE = 64
"""Output pixels left out where it is measured, a multiple of 4."""
SIZE = 512
"""10 m pixels of a scene that are looked at, from its upper left corner, along each side."""


def real_input(name: str, data: Path) -> Image:
    """A development scene as networks take it: ``(10, y, x)`` at 10 m, 20 m bands replicated."""
    x10, x20 = development_scene(name, data)
    height, width = (min(SIZE, n // 2 * 2) for n in x10.shape[1:])
    whole = np.concatenate(
        [x10[:, :height, :width], x20.repeat(2, axis=1).repeat(2, axis=2)[:, :height, :width]]
    )
    return np.ascontiguousarray(whole, np.float32)


def assess(candidates: Sequence[Path], images: dict[str, Image]) -> list[dict[str, object]]:
    """BRISQUE of each candidate less bicubic's, by composite, and the consistency error, over all images.

    Args:
        candidates: Checkpoints.
        images: Real inputs by their name, as of :func:`real_input`.

    Returns:
        A row for each candidate: ``step``, ``composites`` (means over the images), ``brisque`` (mean of
        these), and in DN ``consistency`` and ``pattern`` (RMS of what follows the grid), both as the mean of
        the bands in the worst image.
    """
    drawn = [picture for image in images.values() for picture in pictures(bicubic(image), image)]
    rows = []
    for path in candidates:
        state = read_state(path)
        model = load_average(state["recipe"]["name"], path)
        errors, patterns = [], []
        for image in images.values():
            with torch.no_grad():
                output = model(torch.from_numpy(image)[None])[0].numpy()
            drawn += pictures(output, image)
            errors.append(float(consistency(output, image).mean()))
            deviations = phase_deviations(torch.from_numpy(output)[None, :, EDGE:-EDGE, EDGE:-EDGE])
            patterns.append(deviations.square().mean(dim=(1, 2)).sqrt().mean().item())
        worst = {"consistency": round(max(errors), 2), "pattern": round(max(patterns), 2)}
        rows.append({"step": state["step"], **worst})
    scores = np.array(brisque(drawn)).reshape(1 + len(rows), len(images), len(COMPOSITES)).mean(axis=1)
    for row, differences in zip(rows, scores[1:] - scores[0], strict=True):
        titles = [composite.title for composite in COMPOSITES]
        row["composites"] = dict(zip(titles, differences.round(2).tolist(), strict=True))
        row["brisque"] = round(float(differences.mean()), 2)
    return rows


def choose(rows: Sequence[dict[str, object]]) -> int:
    """Index of the row with the least BRISQUE among those whose consistency error and pattern are small.

    The start (step 0) is there to compare with, and not chosen.

    Raises:
        ValueError: If there is none.
    """
    kept = [
        index
        for index, row in enumerate(rows)
        if row["step"]
        and row["consistency"] <= CONSISTENCY
        and row["pattern"] <= PATTERN
        and math.isfinite(row["brisque"])
    ]
    if not kept:
        raise ValueError(
            f"No candidate keeps its consistency error within {CONSISTENCY:g} DN, and what follows the grid "
            f"within {PATTERN:g} DN."
        )
    return min(kept, key=lambda index: rows[index]["brisque"])


def write_choice(candidate: Path, facts: dict[str, object], path: Path) -> None:
    """Write a candidate to ``path`` with the facts of its choice, for ``training.export``."""
    parts, state = read_checkpoint(candidate)
    write_checkpoint(path, parts, {**state, "choice": facts})


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m training.naturalness", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "folder", type=Path, help="output of training.finetune; chosen.safetensors goes there"
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("SUPERRES_DATA"), help="data folder")
    parser.add_argument("--threads", type=positive(int), default=os.cpu_count())
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("say where the data folder is: --data, or environment variable SUPERRES_DATA")
    torch.set_num_threads(arguments.threads)
    candidates = sorted(arguments.folder.glob("candidates/*.safetensors"))
    if not candidates:
        parser.error(f"no candidates in {arguments.folder}: it must be the output of training.finetune")
    try:
        images = {name: real_input(name, arguments.data) for name in DEVELOPMENT}
        rows = assess(candidates, images)
        best = choose(rows)
        facts = {
            "by": "BRISQUE at 5 m, least difference to bicubic",
            "of": sum(row["step"] > 0 for row in rows),
            **rows[best],
        }
        write_choice(candidates[best], facts, arguments.folder / "chosen.safetensors")
    except (ValueError, OSError, SafetensorError) as error:
        parser.error(" ".join(str(error).split()))
    print("BRISQUE less bicubic's, mean of real inputs at 5 m (less is better); consistency error in DN")
    for row in rows:
        print(json.dumps(row))
    print(f"chosen: step {rows[best]['step']}, {arguments.folder / 'chosen.safetensors'}")


if __name__ == "__main__":
    main()
