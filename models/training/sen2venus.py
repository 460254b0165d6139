"""SEN2VENµS: 5 m images of Venµs with Sentinel-2 of the same day, read patch by patch.

Michel, Vinasco-Salinas, Inglada, Hagolle, "SEN2VENµS, a Dataset for the Training of Sentinel-2
Super-Resolution Algorithms" (Data, 2022). Every site has a folder with an ``index.csv``, tab-separated; the
pixels are int16 DN (surface reflectance x 10 000, no offset), nodata -10000:

* version 1 (Zenodo 6514159): a row per pair of acquisitions; its files are torch tensors ``(n, 4, y, x)``.
* version 2.0.0 (Zenodo 14603764): a row per patch, a GeoTIFF in a zip file. It adds B11 and B12.

A patch has 256² pixels of 5 m, 128² of 10 m, 64² of 20 m. The dataset is split by sites: an acquisition date
shares its ground with the others of its site, and so would patches.
"""

from __future__ import annotations

import argparse
import csv
import json
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import torch

from openeo_superres.sensor import BAND_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

TEST_SITES = ("FR-LQ1", "ES-IC3XG", "ANJI", "MAD-AMBO", "ATTO", "ES-LTERA", "SO2")
"""Kept for the end, as in the public recipe of the EVOLAND networks."""
VALIDATION_SITES = ("ALSACE", "KUDALIAR", "NARYN")
"""For the log of a training: fields and towns, the tropics, mountains, none with another site beside it."""
SITES = (
    *TEST_SITES,
    *VALIDATION_SITES,
    *(
        "ARM",
        "BAMBENW2",
        "BENGA",
        "ESGISB-1",
        "ESGISB-2",
        "ESGISB-3",
        "ESTUAMAR",
        "FGMANAUS",
        "FR-BIL",
        "FR-LAM",
    ),
    *("JAM2018", "K34-AMAZ", "LERIDA-1", "SO1", "SUDOUE-2", "SUDOUE-3", "SUDOUE-4", "SUDOUE-5", "SUDOUE-6"),
)
SPLITS = ("training", "validation", "test")
COLUMNS = {
    "1": ("tensor_05m_b2b3b4b8", "tensor_05m_b5b6b7b8a", "tensor_10m_b2b3b4b8", "tensor_20m_b5b6b7b8a"),
    "2.0.0": ("b2b3b4b8_05m", "b5b6b7b8a_05m", "b2b3b4b8_10m", "b5b6b7b8a_20m", "b11b12_20m"),
}
"""Version -> columns of the index that name files: two of 5 m, one of 10 m, the others of 20 m."""
NODATA = -10_000

SHAPES = ((4, 4), (4, 4), (4, 2), (4, 1), (2, 1))
"""Bands of each of these files, and pixels in a row for each of 20 m."""

Images = tuple[np.ndarray, np.ndarray, np.ndarray]
"""int16 DN: x05 ``(8, 4y, 4x)``, x10 ``(4, 2y, 2x)``, x20 ``(6, y, x)``, or 4 bands without B11 and B12."""


@dataclass(frozen=True, slots=True)
class Patch:
    """Where a patch is: the files of ``COLUMNS`` under its site's folder, and its number in each tensor."""

    folder: Path
    files: tuple[str, ...]
    number: int

    def read(self) -> Images:
        """The images of this patch, and of no other.

        Raises:
            ValueError: If a file is missing, damaged, or not of the size and type that it should have.
        """
        parts = [_read(*place) for place in self.places()]
        rows, columns = parts[3].shape[1:]
        for file, part, (bands, scale) in zip(self.files, parts, SHAPES, strict=False):
            expected = bands, scale * rows, scale * columns
            if part.dtype != np.int16 or part.shape != expected:
                found = f"{part.dtype} {part.shape}"
                raise ValueError(
                    f"{self.folder / file}: expected a patch of int16 {expected}, found {found}."
                )
        return np.concatenate(parts[:2]), parts[2], np.concatenate(parts[3:])

    def places(self) -> list[tuple[Path, str | int]]:
        """Each file on disk, and what of it: the number in a tensor, the name in a zip file."""
        split = [file.partition(".zip/") for file in self.files]
        return [
            (self.folder / f"{name}.zip", member) if member else (self.folder / name, self.number)
            for name, _, member in split
        ]


def _read(path: Path, part: str | int) -> np.ndarray:
    try:
        if path.suffix == ".pt":
            return tensor(path)[part].numpy()
        # without this option, the names beside each GeoTIFF are listed
        with (
            rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
            rasterio.open(f"/vsizip/{path}/{part}", driver="GTiff") as source,
        ):
            return source.read()
    except (OSError, IndexError) as error:
        raise ValueError(f"Patch {part} of {path} cannot be read: {error}.") from error


def tensor(path: Path) -> torch.Tensor:
    """A tensor of version 1, ``(n, 4, y, x)`` int16, left on disk until it is used.

    Raises:
        OSError: If the file is missing, or damaged, or holds anything else.
    """
    try:
        value = torch.load(path, weights_only=True, mmap=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise OSError(f"no file of a tensor, or cut short ({str(error).splitlines()[0]})") from error
    if not isinstance(value, torch.Tensor) or value.ndim != len("nbyx"):
        raise OSError("expected a tensor of four dimensions")
    return value


@dataclass(frozen=True)
class Dataset:
    """What the indices under a folder say; no patch is read."""

    root: Path
    version: str
    sites: dict[str, list[Patch]]

    def split(self, name: str) -> list[Patch]:
        """Patches of the sites in ``training``, ``validation`` or ``test``."""
        return [patch for site, patches in self.sites.items() if split_of(site) == name for patch in patches]


def split_of(site: str) -> str:
    """The split that a site belongs to, all of it."""
    if site in TEST_SITES:
        return "test"
    return "validation" if site in VALIDATION_SITES else "training"


def load_dataset(root: Path) -> Dataset:
    """Read the indices of all sites: ``root/SITE/index.csv``, or one folder deeper, as some archives unpack.

    Raises:
        ValueError: If there is none, or one of another layout, or both versions are mixed.
    """
    indices = sorted({*root.glob("*/index.csv"), *root.glob("*/*/index.csv")})
    if not indices:
        archives = sorted(path.name for path in root.glob("*") if path.suffix in {".7z", ".zip"})
        advice = (
            f"unpack the sites' archives there ({', '.join(archives[:3])}, ...)"
            if archives
            else "is it there?"
        )
        raise ValueError(f"No SEN2VENµS under {root}: expected SITE/index.csv for each site; {advice}")
    sites: dict[str, list[Patch]] = {}
    versions = set()
    for index in indices:
        with index.open(newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", skipinitialspace=True)
            names = set(reader.fieldnames or ())
            known = [version for version, columns in COLUMNS.items() if names.issuperset(columns)]
            if not known:
                raise ValueError(
                    f"{index} is no index of SEN2VENµS: expected, separated by tabs, columns "
                    f"{', '.join(COLUMNS['2.0.0'])} (2.0.0) or {', '.join(COLUMNS['1'])} (1)."
                )
            versions.add(known[0])
            sites.setdefault(index.parent.name, []).extend(_patches(index.parent, known[0], reader))
    if len(versions) > 1:
        raise ValueError(f"{root} holds both versions of SEN2VENµS: keep them in folders of their own.")
    return Dataset(root, versions.pop(), sites)


def _patches(folder: Path, version: str, rows: csv.DictReader[str]) -> Iterator[Patch]:
    for row in rows:
        files = tuple(row[column] for column in COLUMNS[version])
        if not all(files):
            raise ValueError(f"{folder / 'index.csv'}: a row names no file in some column; is it cut short?")
        try:
            count = int(row["nb_patches"]) if version == "1" else 1
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(
                f"{folder / 'index.csv'}: column nb_patches should hold whole numbers."
            ) from error
        yield from (Patch(folder, files, number) for number in range(count))


def survey(dataset: Dataset, *, read: bool = False) -> dict[str, object]:
    """What is there, and what is missing or damaged.

    Args:
        dataset: From :func:`load_dataset`.
        read: Read every patch; else only that files are there and can be opened is looked at.
    """
    patches = [patch for site in dataset.sites.values() for patch in site]
    problems = read_problems(patches) if read else open_problems(patches)
    paths = {path for patch in patches for path, _ in patch.places()}
    rows = {
        site: {"split": split_of(site), "patches": len(found)}
        for site, found in sorted(dataset.sites.items())
    }
    return {
        "version": dataset.version,
        "bands": list(BAND_NAMES if dataset.version == "2.0.0" else BAND_NAMES[:8]),
        "patches": {split: len(dataset.split(split)) for split in SPLITS},
        "sites": rows,
        "absent": [site for site in SITES if site not in dataset.sites],
        "bytes": sum(path.stat().st_size for path in paths if path.exists()),
        "read": read,
        "problems": problems,
    }


def read_problems(patches: list[Patch]) -> list[str]:
    """One line for each patch that cannot be read."""
    problems = []
    for patch in patches:
        try:
            patch.read()
        except ValueError as error:
            problems.append(str(error))
    return problems


def open_problems(patches: list[Patch]) -> list[str]:
    """One line for each file that is missing, cannot be opened, or lacks patches that the index names."""
    problems = []
    wanted: dict[Path, list[str | int]] = {}
    for patch in patches:
        for path, part in patch.places():
            wanted.setdefault(path, []).append(part)
    for path, parts in sorted(wanted.items()):
        try:
            if path.suffix == ".pt":
                there = set(range(len(tensor(path))))
            else:
                with zipfile.ZipFile(path) as archive:
                    there = set(archive.namelist())
        except (OSError, zipfile.BadZipFile) as error:
            problems.append(f"{path}: {getattr(error, 'strerror', None) or error}")
            continue
        if missing := [part for part in parts if part not in there]:
            problems.append(
                f"{path}: {len(missing)} of {len(parts)} patches are not in it: {missing[0]}, ..."
            )
    return problems


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m training.sen2venus",
        description="Say what is there of SEN2VENµS, and what is damaged.",
    )
    parser.add_argument("root", type=Path, help="folder of the sites")
    parser.add_argument("--read", action="store_true", help="read every patch, not only the archives' lists")
    parser.add_argument("--json", action="store_true", help="as JSON")
    arguments = parser.parse_args()
    try:
        facts = survey(load_dataset(arguments.root), read=arguments.read)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    if arguments.json:
        print(json.dumps(facts, indent=2))
    else:
        print_survey(facts)
    raise SystemExit(bool(facts["problems"]))


def print_survey(facts: dict[str, Any]) -> None:
    """The same for people."""
    counts = ", ".join(f"{count} {split}" for split, count in facts["patches"].items())
    print(f"SEN2VENµS version {facts['version']}, {facts['bytes'] / 1e9:.1f} GB")
    print(f"bands: {' '.join(facts['bands'])}")
    print(f"patches: {counts}")
    for site, row in facts["sites"].items():
        print(f"  {site:10} {row['split']:10} {row['patches']:7}")
    if facts["absent"]:
        print(f"not here: {', '.join(facts['absent'])}")
    how = "every patch was read" if facts["read"] else "files were opened, patches not read (--read does)"
    print(f"{how}: {len(facts['problems'])} problems")
    for problem in facts["problems"]:
        print(f"  {problem}")


if __name__ == "__main__":
    main()
