"""Many products: finding them, and running one after the other."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .card import SHA256_MULTIHASH
from .errors import OutputError, SceneError, UnknownSceneError
from .raster import superresolve_scene
from .readers.manifest import verify
from .scene import open_scenes
from .targets import Targets, result_path
from .udf import SuperresError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .card import ModelCard
    from .scene import Scene

SUFFIXES = (".zip", ".nc", ".tif", ".tiff")
"""Of files that may be products, in a folder of them; so may every folder."""
RESULT = re.compile(r"_SR[\d.]+M_")
"""In the names of results: they may lie beside what they were made from."""


@dataclass(frozen=True, slots=True)
class Product:
    """A scene of a source, or why there is none."""

    source: str
    found: Scene | SuperresError


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a scene."""

    path: Path
    source: str
    scene: str
    date: str | None
    model: str
    sha256: str
    size: int
    """Bytes of the file."""
    seconds: float
    verified: int | None
    """Files of the product that have the checksums of its manifest; None if they were not compared."""
    skipped: bool
    """Whether it was there already."""

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"path": str(self.path)}


# ---- what is there


def find_products(
    sources: Iterable[str], bands: Sequence[str], *, date: str | None = None
) -> Iterator[Product]:
    """Recognise the scenes of each source, one after the other.

    Args:
        sources: See :func:`openeo_superres.scene.open_scenes`; and folders of such.
        bands: Those that are needed.
        date: Which scenes, as the beginning of an ISO 8601 date. Default: all.

    Yields:
        Every scene, and an error for what was a product but can't be read.
    """
    for source in sources:
        dates, nothing = [], True
        for product in _readable(source, bands):
            if isinstance(product.found, SuperresError) or (product.found.date or "").startswith(date or ""):
                nothing = False
                yield product
            else:
                dates.append(product.found.date or "not known")
        if nothing:
            yield Product(
                source, SceneError(f"{source} has nothing of {date}; its dates: {', '.join(sorted(dates))}.")
            )


def _readable(source: str, bands: Sequence[str]) -> Iterator[Product]:
    """Products of a source; the one that a folder is, if the folder may not be listed."""
    try:
        yield from _products_of(source, bands)
    except OSError as error:
        yield Product(source, SceneError(f"{source} can't be read: {error.strerror or error}."))


def _products_of(source: str, bands: Sequence[str]) -> Iterator[Product]:
    product, folder = _open(source, bands), Path(source)
    first = product[0].found
    if folder.is_dir() and (isinstance(first, SuperresError) or _merely_holds(folder, first)):
        # a folder of products has one that can be read, or is nothing else itself
        inside = _inside(folder, bands)
        broken: list[Product] = []
        for each in inside:
            if not isinstance(each.found, SuperresError):
                yield from [*broken, each]
                yield from inside
                return
            broken.append(each)
        if broken and isinstance(first, UnknownSceneError):
            product = broken
    yield from product


def _merely_holds(folder: Path, scene: Scene) -> bool:
    """Whether a scene is a product's folder in a folder, where others may be beside it."""
    path = Path(scene.files[0].path)
    if not path.is_relative_to(folder.absolute()):
        return False
    child = path.relative_to(folder.absolute()).parts[0]
    return child.startswith(scene.name) and (folder / child).is_dir()


def _open(source: str, bands: Sequence[str]) -> list[Product]:
    try:
        return [Product(source, scene) for scene in open_scenes(source, bands)]
    except SuperresError as error:
        return [Product(source, error)]


def _inside(folder: Path, bands: Sequence[str]) -> Iterator[Product]:
    """Products right below a folder."""
    seen = set()
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or RESULT.search(path.name):
            continue
        if not path.is_dir() and path.suffix.lower() not in SUFFIXES:
            continue
        # a zip that was unpacked, and kept
        if path.suffix.lower() == ".zip" and any(
            (folder / name).is_dir() for name in (path.stem, f"{path.stem}.SAFE")
        ):
            continue
        for product in _open(str(path), bands):
            if isinstance(product.found, UnknownSceneError):
                continue
            if not isinstance(product.found, SuperresError):
                # of a pair, each file is the whole
                files = frozenset((file.path, file.index) for file in product.found.files)
                if files in seen:
                    continue
                seen.add(files)
            yield product


# ---- what becomes of it


def placed(products: Iterable[Product], output: Path) -> Iterator[Product]:
    """The same products, if there is a place for the result of each.

    Raises:
        OutputError: If there are several, and the output is no folder.
    """
    products = iter(products)
    first = next(products, None)
    if first is None:
        return
    second = None if output.is_dir() else next(products, None)
    if second:
        dates = second.source == first.source and not Path(first.source).is_dir()
        raise OutputError(
            f"{output} is no folder that exists; expected one for the results of several "
            + ("dates, or one of the dates (--date)." if dates else "products.")
        )
    yield first
    yield from products


class Batch:
    """Results of several scenes, of which no two may have one name.

    Args:
        output: A folder, or the file of the only result.
        card: Of the model.
        overwrite: Whether existing files may be replaced.
        skip_existing: Whether a scene is left out whose result is there and complete.
        check: Whether a product's files are compared with its checksums first.
        options: Of :func:`openeo_superres.raster.superresolve_scene`.
    """

    def __init__(
        self,
        output: Path,
        card: ModelCard,
        *,
        overwrite: bool = False,
        skip_existing: bool = False,
        check: bool = False,
        **options: Any,
    ) -> None:
        self._output, self._card, self._options = output, card, options
        self._overwrite, self._skip_existing, self._check = overwrite, skip_existing, check
        self._made: dict[Path, str] = {}

    def run(self, product: Product, progress: Callable[[int, int], object] | None = None) -> Result:
        """Super-resolve a scene, with a STAC item and a style beside the result.

        Raises:
            SuperresError: If that can't be done, or the product has no scene.
        """
        scene, card = product.found, self._card
        if isinstance(scene, SuperresError):
            raise scene
        path = result_path(self._output, scene, card) if self._output.is_dir() else self._output
        if path in self._made:
            raise OutputError(
                f"{product.source} would get the result {path}, as {self._made[path]} did; expected products "
                "with different names: run one of them into another folder."
            )
        self._made[path] = product.source
        options = self._options
        targets = Targets(
            path, options.get("compare"), sidecars=True, uncertainty=options.get("uncertainty", False)
        )
        # a raster without the files beside it was interrupted
        there = self._skip_existing and path.exists()
        skipped = there and all(file.exists() for file in targets.files)
        verified, started = None, time.perf_counter()
        if not skipped:
            verified = verify(scene.path) if self._check else None
            started = time.perf_counter()
            superresolve_scene(
                scene,
                path,
                card,
                overwrite=self._overwrite or there,
                sidecars=True,
                progress=progress,
                **self._options,
            )
        seconds = round(time.perf_counter() - started, 3)
        size, sha256 = _measured(path)
        return Result(
            path, product.source, scene.name, scene.date, card.name, sha256, size, seconds, verified, skipped
        )


def _measured(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a result, as the item beside it says."""
    item = path.with_suffix(".json")
    try:
        asset = json.loads(item.read_bytes())["assets"]["data"]
        return int(asset["file:size"]), str(asset["file:checksum"]).removeprefix(SHA256_MULTIHASH)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise OutputError(f"{item} is not the STAC item of {path}: remove it, and run again.") from error
