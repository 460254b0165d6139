"""The facts of an evaluation as tables to print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openeo_superres.sensor import BAND_NAMES

from .glossary import JUDGES, Entry, by_band, find, number, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    Rows = Mapping[str, Any]
    """Figures by label."""

REFERENCES = ("truth", "reference")
"""Labels of what is no model's output."""


@dataclass(frozen=True, slots=True)
class Row:
    """Cells of a figure."""

    entry: Entry
    cells: dict[str, list[str]]
    """By label; in a table of results there is one row of cells, under the empty label."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under the names of results, or of bands."""

    title: str
    columns: list[str]
    rows: list[Row]


def ordered(labels: Iterable[str]) -> list[str]:
    """Each label once: bicubic, then the models and others, the truth last."""
    return sorted(dict.fromkeys(labels), key=lambda label: (label in REFERENCES, label != "bicubic"))


def of_results(title: str, rows: Rows, entries: Iterable[Entry]) -> Table:
    """A row per figure of which something is known, a column per result: means over the bands."""
    columns = ordered(rows)
    known = {path for row in rows.values() for path in row or ()}
    found = []
    for entry in entries:
        # a mean of all bands says less than one for each resolution
        if f"{entry.path}10" not in known:
            values = [number(find(rows[label], entry.path), size=entry.size) for label in columns]
            if any(value is not None for value in values):
                found.append(Row(entry, {"": [shown(value, entry.digits) for value in values]}))
    return Table(title, columns, found)


def of_bands(title: str, rows: Rows, entries: Iterable[Entry]) -> Table:
    """Rows per figure that is known by band: one per result, a column per band."""
    values = {
        entry: {label: by_band(find(rows[label], entry.path)) for label in ordered(rows)} for entry in entries
    }
    every = {band for results in values.values() for bands in results.values() for band in bands}
    columns = [band for band in BAND_NAMES if band in every]
    found = []
    for entry, results in values.items():
        cells = {
            label: [shown(bands.get(band), entry.digits) for band in columns]
            for label, bands in results.items()
            if bands
        }
        if cells:
            found.append(Row(entry, cells))
    return Table(title, columns, found)


def of_judges(judges: Mapping[str, Any]) -> Iterator[Table]:
    """What programs of others say, each figure under the name that they give it."""
    for judge, rows in judges.items():
        title, about = JUDGES.get(judge, (judge, ""))
        names = dict.fromkeys(name for row in rows.values() for name in row or ())
        entries = [Entry(name, name.replace("_", " "), "", 3, about) for name in names]
        yield of_results(title, rows, entries)
