"""What an evaluation could have found, and pictures of it: made up where nothing depends on it."""

import numpy as np

from openeo_superres.evaluate import bicubic
from openeo_superres.evaluate.report import View
from openeo_superres.sensor import BAND_NAMES

HOSTILE = "<script>window.taken = 1</script>"
MODELS = ("cubic_mtf", "edsr")
WIDTH, HEIGHT = 64, 48
"""Of the views."""


def per_band(value: float) -> dict[str, float]:
    return {band: value + index / 10 for index, band in enumerate(BAND_NAMES)}


def wald_row(strength: float) -> dict[str, object]:
    """Figures of a model that is better than bicubic by so many dB."""
    return {
        "rmse": {band: error * 10 ** (-strength / 20) for band, error in per_band(80.0).items()},
        "rmse10": 80.0,
        "rmse20": 120.0,
        "gain10": strength,
        "gain20": 2 * strength,
        "consistency": 1.25,
        "frr10": 50.0,
        "fro10": 0.1,
        "fru10": -0.2,
        "psnr": per_band(40.0),
        "ssim": per_band(0.5),
        "sam": 1.5,
        "ergas10": 2.5,
        "ergas20": 3.5,
        "shift": {band: [0.03, -0.04] for band in BAND_NAMES},
        "rise": {**per_band(2.0), "B12": None},
        "bias": {band: -0.5 if index % 2 else 0.5 for index, band in enumerate(BAND_NAMES)},
        "gain": per_band(1.0),
    }


def native_row(kept: float) -> dict[str, object]:
    return {
        "consistency": per_band(kept),
        "noise_gain": per_band(1.5),
        "indices": {name: {"rmse": 0.0012, "bias": -0.001} for name in ("NDVI", "NDWI", "NDMI")},
    }


def make_facts(models=MODELS) -> dict[str, object]:
    rows = {"bicubic": wald_row(0.0), **{label: wald_row(2.0 + i) for i, label in enumerate(models)}}
    return {
        "format": 1,
        "software": "openeo-superres 1.2.3",
        "scene": {
            "name": f"a scene {HOSTILE}",
            "kind": "folder",
            "level": "L1C",
            "date": None,
            "crs": "EPSG:32618",
            "window": [0, 2, 512, 510],
            "valid": 0.875,
        },
        "models": {
            label: {"name": label, "sha256": "ab" * 32, "parameters": 51464, "scale": 2, "margin": 30}
            for label in models
        },
        "wald": {
            "x2": {**rows, "truth": {"rise": per_band(1.9)}},
            "x2 mild blur": dict(rows),
            "x4": dict(rows),
        },
        "native": {"bicubic": native_row(30.0), **{label: native_row(0.5) for label in models}},
    }


def make_views(
    image: np.ndarray, models=MODELS, width: int = WIDTH, height: int = HEIGHT, noise=60.0
) -> list[View]:
    """One view of the sample ``(10, y, x)``: bicubic, and results that differ from it everywhere."""
    part = image[:, 300 : 300 + height // 2, 300 : 300 + width // 2]
    base = bicubic(part)
    rng = np.random.default_rng(0)
    others = {label: base + rng.normal(0, noise, base.shape).astype(np.float32) for label in models}
    return [View("At 5 m", "A part of the scene.", {"bicubic": base, **others})]


def make_spectra(models=MODELS, count: int = 96) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    levels = -np.linspace(0, 30, count)
    return {
        protocol: {
            label: levels + rng.normal(0, 0.2, (bands, count)) for label in ("bicubic", *models, "truth")
        }
        for protocol, bands in (("x2", 4), ("x2 mild blur", 4), ("x4", 10))
    }
