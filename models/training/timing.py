"""What a pixel costs: process time on one core, of several models in turn."""

from __future__ import annotations

import hashlib
import platform
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from openeo_superres.sensor import BAND_NAMES
from openeo_superres.udf import load_model

from .bicubic import bicubic_onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from openeo_superres.card import ModelCard


def processor() -> str:
    """Name of this machine's processor, as Linux says it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def chunk_runs(cards: Mapping[str, ModelCard | None], size: int) -> dict[str, Callable[[], object]]:
    """By label, a call that super-resolves a chunk of ``size`` 10 m pixels with its margin, on one thread.

    None stands for bicubic upsampling; that, too, runs in onnxruntime.
    """
    return {label: _run(card, size) for label, card in cards.items()}


def _run(card: ModelCard | None, size: int) -> Callable[[], object]:
    if card is None:
        content = bicubic_onnx()
        model = load_model(content, hashlib.sha256(content).hexdigest(), provider="cpu", threads=1)
    else:
        model = card.open(provider="cpu", threads=1)
    edge = size + 2 * (model.margin + model.margin % 2)
    chunk = np.random.default_rng(0).uniform(0, 4000, (1, len(BAND_NAMES), edge, edge)).astype(np.float32)
    return lambda: model.run(chunk)


def process_seconds(runs: Mapping[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Process time of each call, by label: median of ``repeat`` rounds after a warm-up.

    Each round makes every call once, so that what disturbs the machine for a while disturbs all alike.
    """
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {label: [] for label in runs}
    for _ in range(repeat):
        for label, run in runs.items():
            started = time.process_time()
            run()
            times[label].append(time.process_time() - started)
    return {label: statistics.median(found) for label, found in times.items()}
