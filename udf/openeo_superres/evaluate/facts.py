"""Facts of a scene and of models on it, as JSON has them: everything that is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openeo_superres.errors import JudgeError, SceneError, SuperresError
from openeo_superres.mask import mask_text
from openeo_superres.output import SOFTWARE

from .assess import assess
from .judges import JUDGES, available
from .models import predictor
from .part import find_part, read_part
from .protocols import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from openeo_superres.card import ModelCard
    from openeo_superres.scene import Scene, Window

    from .report import View

    Facts = dict[str, Any]

FORMAT = 1
"""It grows when what a key means changes."""


def measure(
    scene: Scene,
    cards: Mapping[str, ModelCard],
    *,
    protocols: Iterable[str] = (),
    window: Window | None = None,
    whole: bool = False,
    mask: Mapping[str, tuple[int, ...]] | None = None,
    judges: bool = False,
    provider: str = "auto",
    threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[Facts, list[View], dict[str, dict[str, NDArray[np.float64]]]]:
    """Measure models on a scene.

    Args:
        scene: With the ten bands, its masks applied.
        cards: Of the models, by label.
        protocols: Default: all of :data:`openeo_superres.evaluate.protocols.PROTOCOLS`.
        window: Part of it; see :func:`openeo_superres.evaluate.part.find_part`.
        whole: Take all of it.
        mask: What was applied, to be told.
        judges: Ask those that there are.
        provider: "auto", "cpu" or "cuda".
        threads: None for every core.
        progress: Called with the steps done, and all of them.

    Returns:
        Facts as JSON has them; the views and spectra of :func:`openeo_superres.evaluate.report.build_report`.

    Raises:
        SceneError: If no part of the scene can be judged.
        SuperresError: If a model can't be used, or no judge is there.
    """
    asked = available() if judges else []
    if judges and not asked:
        wanted = " and ".join(f"make {judge.target} ({judge.title})" for judge in JUDGES.values())
        raise JudgeError(f"No judge is installed: run {wanted} in a checkout, or leave out --judges.")
    predictors = {label: predictor(card, provider, threads) for label, card in cards.items()}
    part = find_part(scene, window=window, whole=whole, threads=threads)
    x10, x20 = read_part(scene, part)
    try:
        found = assess(
            x10, x20, predictors, tuple(protocols) or tuple(PROTOCOLS), judges=asked, progress=progress
        )
    except SuperresError:
        raise
    except ValueError as error:
        raise SceneError(f"{scene.path}, window {part}, can't be judged: {error}") from error
    facts: Facts = {
        "format": FORMAT,
        "software": SOFTWARE,
        "scene": {
            "name": scene.name,
            "kind": scene.kind,
            "level": scene.level,
            "date": scene.date,
            "crs": scene.crs.to_string() if scene.crs else None,
            "size": [scene.width, scene.height],
            "window": list(part),
            "mask": mask_text(mask) if mask else None,
            "valid": 1.0,  # a part with nodata is refused
        },
        "models": {
            label: {fact: getattr(card, fact) for fact in ("name", "sha256", "parameters", "scale", "margin")}
            for label, card in cards.items()
        },
        "wald": found.wald,
        "native": found.native,
    }
    if found.judges:
        facts["judges"] = found.judges
    return facts, found.views, found.spectra
