"""One page of HTML that says how far a scene's super-resolved pixels can be trusted.

It opens from a file and needs nothing else: pictures and plots are in it, and it may load nothing.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from . import glossary, plots, summary
from .pictures import gallery
from .protocols import LIMIT
from .tables import REFERENCES, of_bands, of_judges, of_results, ordered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .baseline import Image
    from .plots import Mark
    from .tables import Table

    Spectra = Mapping[str, Mapping[str, NDArray[np.float64]]]

TEMPLATE = "report.html"
NATIVE = "At 5 m, against the input"


@dataclass(frozen=True, slots=True)
class View:
    """A part of the scene to look at: the same window as each result shows it."""

    title: str
    """A few words."""
    about: str
    """What is compared, at which pixel size, in a sentence."""
    images: dict[str, Image]
    """By label, "bicubic" first, then the models, "truth" last where there is one: ``(10, y, x)`` float32 DN,
    NaN nodata, all of one shape."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot with what is to be said of it."""

    title: str
    about: str
    svg: str


def build_report(facts: Mapping[str, Any], views: Sequence[View], spectra: Spectra) -> str:
    """Write the page.

    Args:
        facts: What ``evaluate`` measured, as its JSON has it; what is missing or null is not known.
        views: Pictures for the slider; none, and there is no slider.
        spectra: Protocol -> label ("bicubic", the models, "truth") -> radial profiles ``(4 or 10, n)`` in dB
            of the bands with a reference there, in the order of :data:`openeo_superres.sensor.BANDS`, see
            :func:`openeo_superres.evaluate.spectrum.radial_profile`. The main protocol's are drawn, and those
            of others with more bands.

    Returns:
        HTML; the same arguments give the same text.

    Raises:
        ValueError: If a view has no image, images of more than one shape, or no valid pixel in the first.
    """
    # null and missing are the same
    facts = {key: value for key, value in facts.items() if value is not None}
    native = facts.get("native", {})
    protocols = {name: rows or {} for name, rows in facts.get("wald", {}).items()}
    models = facts.get("models", {})
    pictured = [label for view in views for label in view.images]
    measured = [label for rows in (native, *protocols.values(), *spectra.values()) for label in rows]
    labels = ordered([*models, *measured, *pictured])
    marks = plots.marks(labels)
    answers = summary.answers(facts)
    main = summary.main_protocol(facts)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sha256"] = _digest
    page = environment.get_template(TEMPLATE).render(
        scene=facts.get("scene", {}),
        software=facts.get("software", "openeo-superres"),
        models=models,
        lead=summary.lead(answers),
        answers=answers,
        limit=LIMIT,
        views=[(view, gallery(view.images)) for view in views],
        preferred=next(reversed(models), None),
        marks=marks,
        tables=_filled(
            of_results(f"Against the truth: Wald {main}", protocols.get(main, {}), glossary.WALD),
            of_results(NATIVE, native, glossary.NATIVE),
            *of_judges(facts.get("judges", {})),
        ),
        details=_filled(
            *(of_bands(f"Wald {name}", rows, glossary.WALD) for name, rows in protocols.items()),
            of_bands(NATIVE, native, glossary.NATIVE),
        ),
        plots=[*_plots(protocols, main, native, marks), *_spectra(spectra, main, marks)],
    )
    return f"{page.rstrip()}\n"


def _digest(text: str) -> str:
    """A hash as a content security policy has it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _filled(*tables: Table) -> list[Table]:
    return [table for table in tables if table.rows]


def _plots(
    protocols: Mapping[str, Mapping[str, Any]],
    main: str,
    native: Mapping[str, Any],
    marks: Mapping[str, Mark],
) -> Iterator[Plot]:
    """Gains by band and by protocol, and consistency, where they are known."""
    models = {label: mark for label, mark in marks.items() if label not in {"bicubic", *REFERENCES}}
    gains = glossary.gains(protocols.get(main, {}))
    if any(gains.values()):
        about = f"How far the error in each band is below bicubic's, the line at 0 (Wald {main})."
        yield _plot("Gain by band", about, plots.by_band(gains, models, "gain", unit="gain, dB", alt=about))
    panels = {
        f"{size} m bands": {
            label: {
                name: glossary.number(glossary.find(rows.get(label), f"gain{size}"))
                for name, rows in protocols.items()
            }
            for label in models
        }
        for size in (10, 20)
    }
    if len(protocols) > 1 and models:
        about = "The same gain where noise, blur or step are not those that the models were made for."
        svg = plots.by_protocol(panels, models, "robust", unit="gain, dB", alt=about)
        yield _plot("Robustness", about, svg)
    kept = {label: glossary.by_band(glossary.find(row, "consistency")) for label, row in native.items()}
    if any(kept.values()):
        about = "How far the result, seen by the sensor again, differs from its input: the lower the better."
        svg = plots.by_band(kept, marks, "kept", unit="error, DN", alt=about, log=True)
        yield _plot("Consistency by band, at 5 m", about, svg)


def _spectra(spectra: Spectra, main: str, marks: Mapping[str, Mark]) -> Iterator[Plot]:
    """Of the main protocol, and of others with more bands."""
    most = 0
    for index, (name, profiles) in enumerate(sorted(spectra.items(), key=lambda item: item[0] != main)):
        bands = min((len(profile) for profile in profiles.values()), default=0)
        if bands <= most:
            continue
        most = bands
        about = (
            "How much detail there is, from coarse to fine; below it, the same less bicubic's. Under the "
            "truth's line detail is missing, above it there is too much. Whether it is in the right place, "
            "amplitudes do not say. Dotted: the finest that the input's pixels can hold."
        )
        svg = plots.spectra(profiles, marks, f"spectra{index}", alt=about)
        yield _plot(f"Spectra by band: {name}", about, svg)


def _plot(title: str, about: str, svg: str) -> Plot:
    # made by matplotlib, which escapes what stands in it
    return Plot(title, about, Markup(svg))  # noqa: S704
