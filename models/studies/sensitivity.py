"""Why L1 and PSNR fail: what measures make of sharp and blurred images when their reference is a bit off.

The truth is the 10 m bands of a real scene. The candidates: the truth itself (sharp), what a model and
bicubic make of the scene degraded by 2 (without noise), and the truth seen through Gaussians. All are aligned
with the degraded input, as predictions are. The reference they are compared with is the truth, shifted or
multiplied by a gain, as that of another sensor would be; noise and stripes are added to the candidates, as
networks add them. Nothing here proves anything about 5 m.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

from openeo_superres.evaluate import BORDER, bicubic, consistency, wald_pair
from openeo_superres.evaluate.metrics import inside, psnr, rmse, ssim
from openeo_superres.evaluate.spectrum import radial_profile, restoration
from openeo_superres.sensor import BANDS_10M, REFLECTANCE_SCALE
from training.cards import HELP, labelled, predictor
from training.tables import table

from . import publish, scenes
from .crossing import crossings
from .fourier import blurred, shifted
from .sensitivity_chart import DISTANCES, plot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from openeo_superres.evaluate import Image

    Scores = dict[str, NDArray[np.float64]]

PAGE = "why-not-psnr.md"
MODEL = "edsr_4x32"
LABELS = {"l1": "L1", "psnr": "PSNR", "ssim": "SSIM"}
SHIFTS = tuple(np.arange(0, 2.01, 0.125).tolist())
"""In pixels of the reference, half of it down and half of it right (each ``1 / sqrt(2)``)."""
GAINS = tuple(range(12))
"""Error of the reference's gain, in per cent."""
LEVELS = tuple((np.arange(11) / 1000).tolist())
"""Of noise (standard deviation) and pattern (amplitude), in reflectance."""
MTFS = (1.0, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Transfer of the Gaussian blurs at the Nyquist frequency, 1 for none."""
TOLD = (0.4, 0.1, 0.01, 0.001)
"""Blurs that the page tells of."""
BLUR_SHIFTS = (0.0, 0.25, 0.5, 1.0)
"""Shifts at which every blur is looked at."""
PERTURBATIONS = ("shift", "gain", "noise", "pattern")
NAMES = tuple(band.name for band in BANDS_10M)


def likeness(image: Image, reference: Image) -> Scores:
    """L1 and RMSE in DN, PSNR in dB, SSIM: each ``(4,)``, without a border.

    Args:
        image: ``(4, y, x)`` DN.
        reference: The same.
    """
    ours, theirs = inside(image, BORDER), inside(reference, BORDER)
    return {
        "l1": np.abs(ours - theirs).mean(axis=(1, 2), dtype=np.float64),
        "rmse": rmse(ours, theirs),
        "psnr": psnr(ours, theirs),
        "ssim": ssim(ours, theirs),
    }


def profiles(image: Image) -> NDArray[np.float64]:
    """Radial profile of each band, without a border."""
    return radial_profile(inside(image, BORDER))


def restored(image: NDArray[np.float64], reference: NDArray[np.float64], base: NDArray[np.float64]) -> Scores:
    """FRR and FRO in per cent, each ``(4,)``, of three profiles."""
    bands = [restoration(*each) for each in zip(image, reference, base, strict=True)]
    return {name: np.array([getattr(band, name) for band in bands]) for name in ("frr", "fro")}


def moved(image: Image, shift: float) -> Image:
    """An image shifted by a distance in pixels along the diagonal."""
    return shifted(image, shift / np.sqrt(2), shift / np.sqrt(2))


def striped(image: Image, amplitude: float) -> Image:
    """An image with every other column brighter, and the ones between darker, by an amplitude in DN."""
    stripes = np.where(np.arange(image.shape[-1]) % 2, -amplitude, amplitude)
    return image + stripes.astype(image.dtype)


def references(kind: str, truth: Image) -> list[Image]:
    """What the truth becomes at each level of a perturbation, ``shift`` or ``gain``; else itself alone."""
    if kind == "shift":
        return [moved(truth, level) for level in SHIFTS]
    if kind == "gain":
        return [truth * np.float32(1 + level / 100) for level in GAINS]
    return [truth]


def images(kind: str, candidate: Image, noise: Image) -> list[Image]:
    """What a candidate becomes at each level of a perturbation, ``noise`` or ``pattern``; else itself alone.

    Args:
        kind: Of the perturbation.
        candidate: ``(4, y, x)`` DN.
        noise: The same, of a standard deviation of 1.
    """
    if kind == "noise":
        return [candidate + np.float32(level * REFLECTANCE_SCALE) * noise for level in LEVELS]
    if kind == "pattern":
        return [striped(candidate, level * REFLECTANCE_SCALE) for level in LEVELS]
    return [candidate]


def measure(x10: Image, x20: Image, model: str = MODEL, *, seed: int = 0) -> dict[str, Any]:
    """All curves, and what they say.

    Args:
        x10: ``(4, y, x)`` float32 DN.
        x20: ``(6, y / 2, x / 2)`` float32 DN.
        model: Shipped model, or card.
        seed: Of the noise.

    Returns:
        ``levels`` per perturbation; ``curves`` per perturbation, candidate and measure, means of the four
        bands; ``blur`` per shift and measure, over ``MTFS``; ``crossing``: the shift from which on a sharp
        image is no better than a blurred one, per measure, blurred candidate and band; ``frr_lead``: the
        least lead of the sharp image's FRR over all shifts.
    """
    label, card = list(labelled([model]).items())[-1]
    pair = wald_pair(x10, x20, noise=0.0)
    truth, given = pair.target10, pair.input[: len(NAMES)]
    candidates = {
        "sharp": truth,
        label: predictor(card)(pair.input)[: len(NAMES)],
        "bicubic": bicubic(given, BANDS_10M),
    }
    noise = np.random.default_rng(seed).standard_normal(truth.shape, dtype=np.float32)
    base = profiles(candidates["bicubic"])
    series: dict[str, dict[str, Scores]] = {}
    for kind in PERTURBATIONS:
        wanted = references(kind, truth)
        spectra = [profiles(reference) for reference in wanted]
        series[kind] = {
            name: _scores(images(kind, candidate, noise), wanted, spectra, given, base)
            for name, candidate in candidates.items()
        }
    blurs = _blurs(truth, given, base)
    return {
        "model": label,
        "levels": {"shift": SHIFTS, "gain": GAINS, "noise": LEVELS, "pattern": LEVELS, "blur": MTFS},
        "curves": {
            kind: {name: {key: means(rows) for key, rows in scores.items()} for name, scores in table.items()}
            for kind, table in series.items()
        },
        "blur": {
            str(shift): {key: means(rows) for key, rows in scores.items()} for shift, scores in blurs.items()
        },
        **_verdicts(series, truth),
    }


def _scores(
    seen: Sequence[Image],
    wanted: Sequence[Image],
    spectra: Sequence[NDArray[np.float64]],
    given: Image,
    base: NDArray[np.float64],
) -> Scores:
    """Every measure of images against references with these profiles, ``(levels, 4)``; one stands for all."""
    levels = max(len(seen), len(wanted))
    ours = [profiles(image) for image in seen]
    kept = [consistency(image, given, BANDS_10M) for image in seen]
    rows = []
    for level in range(levels):
        image, reference = min(level, len(seen) - 1), min(level, len(wanted) - 1)
        spectral = restored(ours[image], spectra[reference], base)
        rows.append(likeness(seen[image], wanted[reference]) | spectral | {"consistency": kept[image]})
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def _blurs(truth: Image, given: Image, base: NDArray[np.float64]) -> dict[float, Scores]:
    """Every blur at some shifts: per measure ``(len(MTFS), 4)``."""
    seen = [blurred(truth, mtf) for mtf in MTFS]
    result = {}
    for shift in BLUR_SHIFTS:
        reference = moved(truth, shift)
        result[shift] = _scores(seen, [reference], [profiles(reference)], given, base)
    return result


def _verdicts(series: Mapping[str, Mapping[str, Scores]], truth: Image) -> dict[str, Any]:
    """What the curves over the shift say."""
    shift = series["shift"]
    sharp, others = shift["sharp"], [name for name in shift if name != "sharp"]
    found = {
        measure: {
            name: crossings(NAMES, SHIFTS, sign * sharp[measure], sign * shift[name][measure])
            for name in others
        }
        for measure, sign in DISTANCES.items()
    }
    references = [moved(truth, level) for level in SHIFTS]
    for mtf in MTFS[1:]:
        image = blurred(truth, mtf)
        errors = np.stack([_l1(image, reference) for reference in references])
        found["l1"][f"MTF {mtf:g}"] = crossings(NAMES, SHIFTS, sharp["l1"], errors)
    aligned = np.broadcast_to(shift["bicubic"]["psnr"][:1], sharp["psnr"].shape)
    lead = sharp["frr"] - shift["bicubic"]["frr"]
    return {
        "crossing": found,
        "crossing_aligned": crossings(NAMES, SHIFTS, -sharp["psnr"], -aligned),
        "frr_lead": {
            **dict(zip(NAMES, lead.min(axis=0).round(2).tolist(), strict=True)),
            "mean": round(float(lead.mean(axis=1).min()), 2),
        },
    }


def _l1(image: Image, reference: Image) -> NDArray[np.float64]:
    difference = np.abs(inside(image, BORDER) - inside(reference, BORDER))
    mean: NDArray[np.float64] = difference.mean(axis=(1, 2), dtype=np.float64)
    return mean


def means(rows: NDArray[np.float64]) -> list[float | None]:
    """Means over the bands, for JSON: None for what is infinite."""
    return [round(value, 4) + 0.0 if np.isfinite(value) else None for value in rows.mean(axis=1).tolist()]


def report(facts: dict[str, Any]) -> str:
    """Markdown: a row per measure and candidate, the shift from which on the sharp image is no better."""
    found = {
        (LABELS[measure], name): bands
        for measure, candidates in facts["crossing"].items()
        for name, bands in candidates.items()
    }
    found["PSNR", "bicubic whose reference is not shifted"] = facts["crossing_aligned"]
    rows = [["the sharp image is no better than", *NAMES, "mean"]]
    for (measure, name), bands in found.items():
        if name.startswith("MTF") and float(name.split()[1]) not in TOLD:
            continue
        cells = ["-" if level is None else f"{level:.2f} px" for level in bands.values()]
        rows.append([f"{name.replace('MTF', 'Gaussian blur, MTF')}: {measure}", *cells])
    return f"{table(rows)}\n\n{_summary(facts)}"


def _summary(facts: dict[str, Any]) -> str:
    """What the page says in words."""
    sharp, base = (facts["curves"]["shift"][name] for name in ("sharp", "bicubic"))
    noisy = {key: (rows[0], rows[-1]) for key, rows in facts["curves"]["noise"]["bicubic"].items()}
    one = facts["levels"]["shift"].index(1)
    best = facts["levels"]["blur"][int(np.argmin(facts["blur"]["1.0"]["l1"]))]
    return (
        f"At a shift of 1 px the sharp image has an L1 of {sharp['l1'][one]:.0f} DN and a PSNR of "
        f"{sharp['psnr'][one]:.1f} dB, bicubic {base['l1'][one]:.0f} DN and {base['psnr'][one]:.1f} dB; of "
        f"the blurred images, L1 likes the one with an MTF of {best:g} best. FRR is "
        f"{sharp['frr'][one]:.0f} % for the sharp image and {base['frr'][one]:.0f} % for bicubic: "
        f"over all shifts up to {facts['levels']['shift'][-1]:g} px, and in every band, its lead is "
        f"never below {min(facts['frr_lead'].values()):.1f} points.\n\n"
        f"But noise of {facts['levels']['noise'][-1]:g} reflectance lifts bicubic's FRR from "
        f"{noisy['frr'][0]:.0f} to {noisy['frr'][1]:.0f} %; its FRO goes from {noisy['fro'][0]:.1f} to "
        f"{noisy['fro'][1]:.1f} %, its consistency error from {noisy['consistency'][0]:.0f} to "
        f"{noisy['consistency'][1]:.0f} DN."
    )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m studies.sensitivity", description=__doc__)
    parser.add_argument("model", nargs="?", default=MODEL, help=f"{HELP} (default: {MODEL})")
    scenes.add_arguments(parser)
    publish.add_arguments(parser)
    arguments = parser.parse_args()
    try:
        publish.check(arguments)
        images = scenes.native(arguments.scene, arguments.data)
        cards = labelled([arguments.model])
        facts = {**publish.heading(cards), "scene": arguments.scene, **measure(*images, arguments.model)}
        text = report(facts)
        print(text)
        publish.deliver(arguments, "sensitivity", page=PAGE, facts=facts, figure=plot(facts), text=text)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
