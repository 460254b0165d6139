"""How far the 5 m images of another sensor are from Sentinel-2: registration and radiometry, patch by patch.

Each fine image is degraded to the pixels of Sentinel-2 and compared with them: its shift by phase
correlation, median of the four bands of a resolution; with that shift taken off, a line per band, ``other =
slope * Sentinel-2 + intercept``. SEN2VENµS is read patch by patch; or pairs are simulated, whose discrepancy
is known, and what is found is compared with it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.arguments import positive
from training.sen2venus import NODATA, SPLITS, Patch, load_dataset, split_of
from training.tables import table

from . import publish, scenes
from .comparison import BANDS, GROUPS, Comparison, compare, histograms, summary
from .discrepancy_chart import plot
from .pairs import METRES, simulated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from openeo_superres.evaluate import Image

    from .pairs import Discrepancy

PAGE = "discrepancy.md"
COUNT = 200


def analyse(
    sites: Mapping[str, Iterable[Sequence[NDArray[np.int16]]]],
) -> tuple[dict[str, Any], list[Comparison]]:
    """Compare all patches, one by one; those with nodata are skipped and counted.

    Args:
        sites: The images of the patches of each.

    Returns:
        ``sites``: a summary of each; ``all``: of all together; ``histograms``. And the comparisons.

    Raises:
        ValueError: If no patch was left.
    """
    every: list[Comparison] = []
    summaries = {}
    for site, patches in sites.items():
        compared, skipped = [], 0
        for images in patches:
            if all((image > NODATA).all() for image in images):
                compared.append(compare(images))
            else:
                skipped += 1
        summaries[site] = summary(compared, skipped)
        every += compared
    if not every:
        raise ValueError("Expected patches without nodata to compare, got none: are they the right sites?")
    total = sum(site["skipped"] for site in summaries.values())
    return {"all": summary(every, total), "sites": summaries, "histograms": histograms(every)}, every


def recovered(compared: Sequence[Comparison], truths: Sequence[Discrepancy]) -> dict[str, Any]:
    """How well known discrepancies were found: the error's median and 90th percentile.

    Returns:
        ``shift`` per resolution, in metres and in pixels of that resolution, with ``points`` (true and found,
        down and right in turn, in metres); ``slope`` and ``intercept`` per band.
    """
    true = np.stack([truth.shift for truth in truths])
    result: dict[str, Any] = {"shift": {}, "slope": {}, "intercept": {}}
    for k, (group, (_, _, step)) in enumerate(GROUPS.items()):
        found = np.stack([one.shift[k] for one in compared])
        error = np.hypot(*(found - true).T)
        points = np.column_stack([true.ravel(), found.ravel()]).round(2)
        result["shift"][group] = {
            "metres": _error(error),
            "pixels": _error(error / (step * METRES)),
            "points": points.tolist(),
        }
    for k, band in enumerate(BANDS):
        slopes, intercepts = (np.array([one.fit[k, index] for one in compared]) for index in (0, 1))
        gains = np.array([truth.gain[k] for truth in truths])
        offsets = np.array([truth.offset[k] for truth in truths])
        result["slope"][band] = _error(np.abs(slopes - gains))
        result["intercept"][band] = _error(np.abs(intercepts - offsets))
    return result


def _error(values: NDArray[np.float64]) -> dict[str, float]:
    return {"median": round(float(np.median(values)), 4), "p90": round(float(np.percentile(values, 90)), 4)}


def simulation(x10: Image, x20: Image, count: int, seed: int = 0) -> dict[str, Any]:
    """Simulate pairs, compare them, and compare what is found with what is true."""
    truths: list[Discrepancy] = []

    def patches() -> Iterator[Sequence[NDArray[np.int16]]]:
        for images, truth in simulated(x10, x20, count, seed=seed):
            truths.append(truth)
            yield images

    facts, compared = analyse({"simulated": patches()})
    return {**facts, "recovered": recovered(compared, truths)}


def dataset(
    root: Path, sites: Sequence[str] = (), split: str | None = None, limit: int | None = None
) -> dict[str, Any]:
    """Compare the patches of SEN2VENµS.

    Args:
        root: Folder of the sites.
        sites: Which of them; default: all there are.
        split: Only sites of ``training``, ``validation`` or ``test``.
        limit: Patches per site at most, evenly spread over it.

    Raises:
        ValueError: If a site is not there, none is left, or a patch can't be read.
    """
    found = load_dataset(root)
    missing = sorted({*sites} - {*found.sites})
    if missing:
        raise ValueError(
            f"No site {', '.join(missing)} under {root}: there are {', '.join(sorted(found.sites))}."
        )
    chosen = {
        site: patches
        for site, patches in sorted(found.sites.items())
        if (not sites or site in sites) and split in {None, split_of(site)}
    }
    if not chosen:
        raise ValueError(f"None of the sites under {root} is in the split {split}.")
    facts, _ = analyse({site: _images(patches, limit) for site, patches in chosen.items()})
    return {"version": found.version, **facts}


def _images(patches: Sequence[Patch], limit: int | None) -> Iterator[Sequence[NDArray[np.int16]]]:
    """Read patches one after the other."""
    count = min(limit or len(patches), len(patches))
    for index in range(count):
        yield patches[index * len(patches) // count].read()


def report(facts: dict[str, Any]) -> str:
    """Markdown: shifts by site, and lines by band; of simulated pairs, how well they were found."""
    if "recovered" in facts:
        return f"{_recovered_shifts(facts)}\n\n{_recovered_lines(facts)}"
    return f"{_shifts(facts)}\n\n{_lines(facts)}"


def _recovered_shifts(facts: dict[str, Any]) -> str:
    rows = [["error of the shift", "median", "90 % are below"]]
    for group, found in facts["recovered"]["shift"].items():
        cells = [f"{found['pixels'][of]:.3f} px ({found['metres'][of]:.2f} m)" for of in ("median", "p90")]
        rows.append([f"{group} bands", *cells])
    return table(rows)


def _recovered_lines(facts: dict[str, Any]) -> str:
    found = facts["recovered"]
    rows = [["median (90 % are below)", *BANDS]]
    for name, digits, unit in (("slope", 4, ""), ("intercept", 1, " DN")):
        cells = [
            f"{band['median']:.{digits}f} ({band['p90']:.{digits}f}){unit}" for band in found[name].values()
        ]
        rows.append([f"error of the {name}", *cells])
    return table(rows)


def _shifts(facts: dict[str, Any]) -> str:
    rows = [["site", "patches", "with nodata", *(f"distance, {group} bands" for group in GROUPS)]]
    for site, found in {**facts["sites"], "all": facts["all"]}.items():
        distances = [found["shift"][group]["distance"] for group in GROUPS] if found["patches"] else []
        cells = [
            "-" if of["median"] is None else f"{of['median']:.1f} m ({of['p90']:.1f})" for of in distances
        ]
        rows.append([site, str(found["patches"]), str(found["skipped"]), *(cells or ["-"] * len(GROUPS))])
    return table(rows)


def _lines(facts: dict[str, Any]) -> str:
    rows = [["median of all patches", *BANDS]]
    for name, digits in (("slope", 3), ("intercept", 1), ("rmse", 1), ("correlation", 3)):
        medians = [band[name]["median"] for band in facts["all"]["bands"].values()]
        rows.append([name, *("-" if value is None else f"{value:.{digits}f}" for value in medians)])
    return table(rows)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m studies.discrepancy", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("root", nargs="?", type=Path, help="folder of the sites of SEN2VENµS")
    source.add_argument(
        "--simulate", action="store_true", help="pairs whose discrepancy is known, of a scene"
    )
    parser.add_argument("--site", action="append", default=[], help="of SEN2VENµS; default: all there are")
    parser.add_argument("--split", choices=SPLITS, help="only its sites")
    parser.add_argument("--limit", type=positive(int), help="patches per site at most; default: all")
    parser.add_argument(
        "--count", type=positive(int), default=COUNT, help="simulated pairs (default: %(default)s)"
    )
    scenes.add_arguments(parser)
    publish.add_arguments(parser)
    arguments = parser.parse_args()
    if arguments.publish and not arguments.simulate:
        parser.error("the page shows simulated pairs: --publish needs --simulate")
    try:
        publish.check(arguments)
        if arguments.simulate:
            images = scenes.native(arguments.scene, arguments.data)
            facts = {"scene": arguments.scene, **simulation(*images, arguments.count)}
        else:
            facts = dataset(arguments.root, arguments.site, arguments.split, arguments.limit)
        facts = {**publish.heading(), **facts}
        text = report(facts)
        print(text)
        publish.deliver(arguments, "discrepancy", page=PAGE, facts=facts, figure=plot(facts), text=text)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
