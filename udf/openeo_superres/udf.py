"""Super-resolution of one chunk of Sentinel-2, as an openEO User Defined Function.

This file travels to the back-end as text: it stands alone, and the package imports from it. Its pixels are
harmonised digital numbers (DN: reflectance x 10 000, offset applied), float32, NaN for nodata. Sizes, margins
and overlaps count 10 m pixels.
"""

import base64
import hashlib
import importlib
import lzma
import os
import sys
import threading
import types
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import xarray
from openeo.metadata import CubeMetadata
from openeo.udf import XarrayDataCube

FILL_RADIUS = 6
"""Nodata is filled before the network from valid pixels within this distance, in 10 m pixels."""
FILL_POWER = 5.4
"""They are weighted by distance to minus this: of 2 to 12, it changes least beside holes of the sample."""
ALIGNMENT = 2
"""What aligning a window to the 20 m grid may add to what a pixel depends on."""
PIXEL = 10.0
"""Size in metres of the pixels that the networks take."""
COARSE_BANDS = frozenset({"B05", "B06", "B07", "B8A", "B11", "B12"})
"""Bands with 20 m pixels, replicated 2 x 2 on the 10 m grid."""
ENOUGH_BLOCKS = 16
"""Fewer complete blocks than this can't tell that bands were resampled smoothly."""
STRIP = 32
"""Rows of cells that vote on the phase at a time, until it is clear."""
ENOUGH_NUMBERS = 1000
"""Fewer numbers than this can't tell reflectance from DN of something dark."""
CACHE = "_openeo_superres_models"
"""Name of the module that keeps opened models."""
MORE_MEMORY = "On a back-end, raise the job option 'python-memory', or take chunks of a smaller size."
DEPENDENCIES = "onnx_deps"
"""Folder that back-ends unpack onnxruntime to, beside the working directory."""


class SuperresError(ValueError):
    """Something a user can mend; the message says what was expected, what came and what to do."""


def coarse_indices(bands: tuple[str, ...]) -> list[int]:
    """Where the 20 m bands are among the names."""
    return [i for i, band in enumerate(bands) if band in COARSE_BANDS]


# ---- the model


@dataclass(frozen=True)
class Model:
    """A network ready to run, with the facts stored in its ONNX file."""

    name: str
    scale: int
    margin: int
    """Everything that a pixel's value depends on, one-sided, in 10 m pixels."""
    bands: tuple[str, ...]
    fill: tuple[float, ...]
    """Per band, what nodata far from any valid pixel becomes before the network, in DN."""
    run: Callable[[np.ndarray], np.ndarray]
    """From ``(1, bands, 2h, 2w)`` to ``(1, bands, 2h * scale, 2w * scale)``, float32 DN."""
    provider: str = "cpu"
    """Where it runs: "cpu" or "cuda"."""

    @property
    def coarse(self) -> list[int]:
        """Indices of the 20 m bands."""
        return coarse_indices(self.bands)


def load_model(weights: bytes, sha256: str, *, provider: str = "auto", threads: int | None = None) -> Model:
    """Open an ONNX model, once per process.

    Args:
        weights: The ONNX file's bytes.
        sha256: What their SHA-256 must be, in hexadecimal; checked before anything is parsed.
        provider: "cpu", "cuda" (where it is missing a warning, and the CPU), or "auto" for the better one.
        threads: Threads of the session; None lets onnxruntime take every core.

    Raises:
        SuperresError: If the hash is another, the file is no model of ours, or onnxruntime can't be used.
    """
    found = hashlib.sha256(weights).hexdigest()
    if found != sha256:
        raise SuperresError(
            f"The model's SHA-256 is {found}, expected {sha256}: the weights are damaged or "
            "belong to another version. Fetch them again."
        )
    cache, key = _cache(), _key(sha256, provider, threads)
    # threads of one process (dask) wait for the first of them
    with cache.setdefault("lock", threading.Lock()):
        if key not in cache:
            cache[key] = _open(weights, provider, threads)
    model: Model = cache[key]
    return model


def _cache() -> dict[str, Any]:
    """What outlives a chunk: openEO's Jep runtime executes this file anew for each, a real module stays."""
    return vars(sys.modules.setdefault(CACHE, types.ModuleType(CACHE)))


def _key(sha256: str, provider: str, threads: int | None) -> str:
    return f"{sha256} {provider} {threads}"


def _open(weights: bytes, provider: str, threads: int | None) -> Model:
    onnxruntime = _import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    if threads is not None:
        # onnxruntime makes as many as it is asked for
        options.intra_op_num_threads = min(threads, os.cpu_count() or 1)
    # plans of memory, one per shape of a chunk, take nearly twice the memory and save no time
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    providers = _providers(provider, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(weights, options, providers=providers)
        facts = session.get_modelmeta().custom_metadata_map
        name, scale, margin = facts["name"], int(facts["scale"]), int(facts["margin"])
        bands = tuple(facts["bands"].split(","))
        fill = tuple(float(value) for value in facts["fill"].split(","))
        source, target = session.get_inputs()[0].name, session.get_outputs()[0].name
    except Exception as error:  # onnxruntime's own exceptions share no base class of their own
        raise SuperresError(f"The weights can't be opened as a model of openeo-superres: {error}") from error
    if len(fill) != len(bands):
        raise SuperresError(f"Model {name} has {len(bands)} bands, but {len(fill)} values that fill nodata.")
    if margin < FILL_RADIUS + ALIGNMENT:
        raise SuperresError(
            f"Model {name} says margin {margin}; filling nodata and aligning to 20 m cells alone need "
            f"{FILL_RADIUS + ALIGNMENT}. Export it again with this version."
        )

    on_cuda = "CUDAExecutionProvider" in session.get_providers()
    if provider == "cuda" and providers[0] == "CUDAExecutionProvider" and not on_cuda:
        warnings.warn("CUDA was asked for, but could not be started: running on the CPU.", stacklevel=2)

    def run(image: np.ndarray) -> np.ndarray:
        try:
            result: np.ndarray = session.run([target], {source: image})[0]
        except Exception as error:
            cure = f" {MORE_MEMORY}" if "alloc" in str(error) else ""
            raise SuperresError(f"Model {name} failed on an input of {image.shape}: {error}{cure}") from error
        return result

    return Model(name, scale, margin, bands, fill, run, "cuda" if on_cuda else "cpu")


def _import_onnxruntime() -> Any:
    """Import onnxruntime when it is first needed, also from a back-end's dependency archive."""
    if os.path.isdir(DEPENDENCIES) and DEPENDENCIES not in sys.path:  # noqa: PTH112
        sys.path.append(DEPENDENCIES)
    # from 1.32 on it reports its use to its makers, and writes into the home folder, unless told not to
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    cure = (
        f"It must fit Python {sys.version_info.major}.{sys.version_info.minor} and numpy {np.__version__}: "
        "with numpy 2 or later, onnxruntime 1.19 or later. On a back-end, it comes from the job option "
        "'udf-dependency-archives'."
    )
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    except (ImportError, AttributeError) as error:
        if getattr(error, "name", None) == "onnxruntime":
            raise SuperresError(
                "onnxruntime is missing. On a back-end, add an archive that holds it to the job option "
                "'udf-dependency-archives' (batch jobs only); elsewhere: pip install onnxruntime."
            ) from error
        raise SuperresError(f"onnxruntime is there but can't be imported ({error!r}). {cure}") from error
    version = [int(part) for part in onnxruntime.__version__.split(".")[:2]]
    if version < [1, 19] and int(np.__version__.split(".")[0]) >= 2:
        # 1.16 can be imported then, and its first run ends the process
        raise SuperresError(f"onnxruntime {onnxruntime.__version__} is too old. {cure}")
    return onnxruntime


def _check_provider(provider: str) -> None:
    if provider not in {"auto", "cpu", "cuda"}:
        raise SuperresError(f"Unknown provider {provider!r}: use 'auto', 'cpu' or 'cuda'.")


def _providers(provider: str, available: list[str]) -> list[str]:
    _check_provider(provider)
    has_cuda = "CUDAExecutionProvider" in available
    if provider == "cuda" and not has_cuda:
        warnings.warn(
            "CUDA was asked for, but this onnxruntime has none: running on the CPU. "
            "(pip uninstall onnxruntime, then pip install onnxruntime-gpu)",
            stacklevel=2,
        )
    use_cuda = has_cuda and provider != "cpu"
    return ["CUDAExecutionProvider", "CPUExecutionProvider"] if use_cuda else ["CPUExecutionProvider"]


# ---- one chunk's numerics


def superresolve_chunk(
    chunk: np.ndarray,
    model: Model,
    *,
    phase: tuple[int, int] = (0, 0),
    overlap: int = 0,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Super-resolve one chunk; beyond its edges there is nodata.

    Args:
        chunk: ``(bands, y, x)`` float32 DN on the 10 m grid in the model's order, NaN for nodata, 20 m bands
            replicated 2 x 2. Any size.
        model: See :func:`load_model`.
        phase: Row and column, 0 or 1, of the first 20 m cell that starts inside the chunk.
        overlap: Pixels per side that are context only; from ``model.margin`` on, any tiling gives the same.
        out: Where the result goes, all NaN; None for a new array.

    Returns:
        ``(bands, scale * (y - 2 overlap), scale * (x - 2 overlap))`` float32 DN, NaN where the input is.
    """
    scale = model.scale
    height, width = (n - 2 * overlap for n in chunk.shape[1:])
    if height < 1 or width < 1:
        raise SuperresError(
            f"A chunk of {chunk.shape[2]} x {chunk.shape[1]} pixels has none inside an overlap of {overlap}."
        )
    shape = (len(model.bands), scale * height, scale * width)
    valid = np.isfinite(chunk[:, overlap : overlap + height, overlap : overlap + width])
    rows, columns = (np.flatnonzero(valid.any(axis=0).any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return np.full(shape, np.nan, np.float32) if out is None else out
    # the pixels that the valid ones depend on, on whole 20 m cells; nodata costs nothing
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    reach = model.margin - FILL_RADIUS - ALIGNMENT
    first_row, last_row = _aligned(top + overlap - reach, bottom + overlap + reach, phase[0])
    first_column, last_column = _aligned(left + overlap - reach, right + overlap + reach, phase[1])
    image = _filled(_window(chunk, first_row, last_row, first_column, last_column), model)
    output = model.run(image[None])[0]
    if output.shape != (len(model.bands), scale * image.shape[1], scale * image.shape[2]):
        raise SuperresError(
            f"Model {model.name} gave shape {output.shape} for {image.shape}; expected scale {scale}."
        )
    row, column = scale * (top + overlap - first_row), scale * (left + overlap - first_column)
    box = valid[:, top:bottom, left:right]
    part: np.ndarray = output[:, row : row + scale * box.shape[1], column : column + scale * box.shape[2]]
    if out is None and part.shape == shape and box.all():
        return part  # nothing to hide: no copy
    result = np.full(shape, np.nan, np.float32) if out is None else out
    target = result[:, scale * top : scale * bottom, scale * left : scale * right]
    if box.all():
        target[:] = part
    else:
        mask = box.repeat(scale, axis=1).repeat(scale, axis=2)
        np.copyto(target, part, where=mask)
    return result


def _aligned(start: int, stop: int, phase: int) -> tuple[int, int]:
    """Widen a range to whole 20 m cells."""
    return start - (start - phase) % 2, stop + (phase - stop) % 2


def _window(image: np.ndarray, top: int, bottom: int, left: int, right: int) -> np.ndarray:
    """Copy a window and ``FILL_RADIUS`` pixels around it; beyond the image it is NaN."""
    height, width = image.shape[1:]
    top, bottom = top - FILL_RADIUS, bottom + FILL_RADIUS
    left, right = left - FILL_RADIUS, right + FILL_RADIUS
    inner = image[:, max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    pads = ((0, 0), (max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)))
    return np.pad(inner, pads, constant_values=np.nan).astype(np.float32, copy=False)


def _filled(window: np.ndarray, model: Model) -> np.ndarray:
    """Replace nodata: 10 m bands on their grid, 20 m bands on theirs, after averaging each cell.

    Returns:
        The window without the ring of ``FILL_RADIUS`` pixels that it is filled from.
    """
    ring, half = FILL_RADIUS, FILL_RADIUS // 2
    fine = [i for i in range(len(model.bands)) if i not in model.coarse]
    result = np.empty((len(window), *(n - 2 * ring for n in window.shape[1:])), np.float32)
    if fine:
        filled = fill_nodata(window[fine], ring, [model.fill[i] for i in fine])
        result[fine] = filled[:, ring:-ring, ring:-ring]
    if model.coarse:
        cells = fill_nodata(cell_means(window[model.coarse]), half, [model.fill[i] for i in model.coarse])
        result[model.coarse] = cells[:, half:-half, half:-half].repeat(2, axis=1).repeat(2, axis=2)
    return result


def cell_means(image: np.ndarray) -> np.ndarray:
    """Mean of the valid pixels of each 2 x 2 cell of ``(bands, 2h, 2w)``; NaN where a cell has none."""
    corners = [image[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    means: np.ndarray = (corners[0] + corners[1] + corners[2] + corners[3]) / np.float32(4)
    if np.isnan(means).any():
        stack = np.stack(corners)
        count = np.isfinite(stack).sum(axis=0)
        sums = np.where(np.isfinite(stack), stack, 0).sum(axis=0, dtype=np.float32)
        means[:] = np.where(count, sums / np.maximum(count, 1), np.nan)
    return means


def fill_nodata(image: np.ndarray, radius: int, constants: list[float]) -> np.ndarray:
    """Replace NaN by the mean of the valid pixels within ``radius``, weighted by a power of the distance.

    That is close to the nearest pixel's value, but with smaller steps and less noise, which deconvolution
    would amplify beside a hole. Nothing farther than ``radius`` is used; without any there, a constant.

    Args:
        image: ``(bands, y, x)`` float32.
        radius: Largest Euclidean distance of a source, in pixels.
        constants: One per band.
    """
    filled = image.copy()
    missing = ~np.isfinite(image)
    shared = bool((missing == missing[:1]).all())
    # products mostly share one mask over their bands
    for bands in [slice(None)] if shared else [slice(i, i + 1) for i in range(len(image))]:
        mask = missing[bands][0]
        if mask.any():
            rows, columns, means = _weighted_means(image[bands], mask, radius)
            filled[bands][:, mask] = np.asarray(constants[bands], np.float32)[:, None]
            filled[bands][:, rows, columns] = means
    return filled


def _weighted_means(
    image: np.ndarray, missing: np.ndarray, radius: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of the missing pixels near a valid one, and what fills them ``(bands, n)``."""
    span = range(-radius, radius + 1)
    height, width = missing.shape
    valid = np.pad(~missing, radius)
    near = np.logical_or.reduce([np.roll(valid, shift, axis=0) for shift in span])
    near = np.logical_or.reduce([np.roll(near, shift, axis=1) for shift in span])
    rows, columns = np.nonzero(missing & near[radius : radius + height, radius : radius + width])
    values = np.pad(np.where(missing, np.float32(0), image), ((0, 0), (radius, radius), (radius, radius)))
    sums = np.zeros((len(image), rows.size), np.float32)
    weights = np.zeros(rows.size, np.float32)
    for dy in span:
        for dx in span:
            squared = dy * dy + dx * dx
            if 0 < squared <= radius * radius:
                at = (rows + dy + radius, columns + dx + radius)
                weight = valid[at] * np.float32(squared ** (-FILL_POWER / 2))
                sums += weight * values[:, *at]
                weights += weight
    found = weights > 0
    return rows[found], columns[found], sums[:, found] / weights[found]


def replication_phase(
    image: np.ndarray, factor: int = 2, default: tuple[int, int] = (0, 0)
) -> tuple[int, int]:
    """Where the cells of replicated bands start: row and column in ``range(factor)``.

    A complete block of ``factor x factor`` valid pixels votes for its phase if each band is constant over it.
    Ties (flat images, too few pixels) go to what agrees with ``default``. The rest is not asked once enough
    blocks are for one phase, none against it, and enough against each other.

    Args:
        image: ``(..., bands, y, x)``; leading dimensions (dates) vote apart.
        factor: Of the replication.
        default: From the coordinates, or zero.

    Raises:
        SuperresError: If most complete blocks differ inside: the bands were resampled or reprojected.
    """
    votes = np.zeros((factor, factor, 2), np.int64)
    step = factor * STRIP
    for top in range(0, image.shape[-2], step):
        # with what the last row of cells may need beyond, each cell is in one strip, whatever the phase
        votes += phase_votes(image[..., top : top + step + factor - 1, :], factor)
        constant, complete = votes[..., 0], votes[..., 1]
        against = complete - constant >= ENOUGH_BLOCKS
        sure = (constant == complete) & (complete >= max(ENOUGH_BLOCKS, complete.max() / 2))
        if sure.sum() == 1 and (sure | against).all():
            break
    return decide_phase(votes, default)


def phase_votes(image: np.ndarray, factor: int = 2) -> np.ndarray:
    """Count, for each phase, the constant and the complete blocks; counts of parts of a cube can be added.

    Args:
        image: As :func:`replication_phase` takes it; the phase is relative to its own corner.
        factor: Of the replication.

    Returns:
        ``(factor, factor, 2)`` integers: row, column, (constant, complete).
    """
    image = image.reshape(-1, *image.shape[-3:])
    finite = np.isfinite(image).all(axis=1)
    if not finite.any():
        return np.zeros((factor, factor, 2), np.int64)
    down = (image[:, :, :-1] == image[:, :, 1:]).all(axis=1)
    across = (image[:, :, :, :-1] == image[:, :, :, 1:]).all(axis=1)
    height, width = image.shape[-2:]
    votes = np.zeros((factor, factor, 2), np.int64)
    inside = range(factor)
    for row, column in np.ndindex(factor, factor):
        blocks = (max(0, height - row) // factor, max(0, width - column) // factor)

        def corners(pairs: np.ndarray, i: int, j: int) -> np.ndarray:
            return pairs[:, row + i :: factor, column + j :: factor][:, : blocks[0], : blocks[1]]  # noqa: B023

        same_down = [corners(down, i, j) for i in inside[:-1] for j in inside]
        same_across = [corners(across, 0, j) for j in inside[:-1]]
        complete = np.logical_and.reduce([corners(finite, i, j) for i in inside for j in inside])
        constant = np.logical_and.reduce([*same_down, *same_across, complete])
        votes[row, column] = constant.sum(), complete.sum()
    return votes


def decide_phase(votes: np.ndarray, default: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """The phase with the largest share of constant blocks; see :func:`replication_phase`."""
    factor = len(votes)
    most = votes[..., 1].max()
    if not most:
        return default

    def merit(phase: tuple[int, ...]) -> tuple[float, int]:
        equal, complete = votes[phase]
        # between confirmed and refuted: too few blocks to tell
        share = equal / complete if complete * 4 >= most else 0.5
        return share, (phase[0] == default[0]) + (phase[1] == default[1])

    row, column = max(np.ndindex(factor, factor), key=merit)
    equal, complete = votes[row, column]
    if complete >= ENOUGH_BLOCKS and equal < complete / 2:
        raise SuperresError(
            f"Expected bands replicated {factor} x {factor} (nearest), but pixels differ inside "
            f"{complete - equal} of {complete} blocks: the bands were resampled smoothly or reprojected, or "
            "dates were chosen pixel by pixel. Load them at their own resolution, resample with method "
            "'near', compose dates band by band (median)."
        )
    return row, column


# ---- the User Defined Function


@dataclass(frozen=True)
class Context:
    """What the process graph says to the UDF, checked once."""

    mode: str
    scale: int
    bands: tuple[str, ...]
    margin: int
    sha256: str
    model: str | None = None
    """Path of the ONNX file on the back-end."""
    weights: str | None = None
    """The ONNX file itself, as :func:`pack_weights` writes it."""
    overlap: int = 0
    """Of the chunks, per side; the back-end crops it, so it is not computed. 0: everything is."""
    size: int = 0
    """Of the chunks, without overlap; see :meth:`border`. 0: unknown."""
    offset: float = 0.0
    """Added to the cube's numbers to make them harmonised DN."""
    provider: str = "auto"
    threads: int = 1

    @classmethod
    def parse(cls, context: Mapping[str, Any]) -> "Context":
        """Check a UDF context.

        Raises:
            SuperresError: If a key is unknown or missing, or a value can't be used.
        """
        known = {field.name for field in fields(cls)}
        required = {"mode", "scale", "bands", "margin", "sha256"}
        unknown, missing = sorted(set(context) - known), sorted(required - set(context))
        if unknown or missing:
            raise SuperresError(
                f"The UDF's context has unknown keys {unknown} and lacks {missing}; it knows {sorted(known)}."
            )
        least = {"scale": 1, "margin": 0, "overlap": 0, "size": 0, "threads": 1}
        numbers = {key: _whole(key, context.get(key, low), low) for key, low in least.items()}
        bands = context["bands"]
        if not isinstance(bands, list | tuple) or not all(isinstance(band, str) for band in bands):
            raise SuperresError(f"The UDF's context has bands {bands!r}; expected a list of names.")
        parsed = cls(**{**context, **numbers, "bands": tuple(bands)})
        if not isinstance(parsed.offset, int | float) or not np.isfinite(parsed.offset):
            raise SuperresError(f"The UDF's context has offset {parsed.offset!r}; expected a number.")
        if parsed.mode not in {"grid", "upscale"}:
            raise SuperresError(f"Unknown mode {parsed.mode!r}: use 'grid' or 'upscale'.")
        _check_provider(parsed.provider)
        if (parsed.model is None) == (parsed.weights is None):
            raise SuperresError(
                "Give either 'model' (a path on the back-end) or 'weights' (inline), not both."
            )
        return parsed

    def open(self) -> Model:
        """The model that the context names, checked against what the context says of it; once per process."""
        # unpacking the weights again would take as long as a small chunk
        model: Model | None = _cache().get(_key(self.sha256, self.provider, self.threads))
        if model is None:
            model = load_model(self._content(), self.sha256, provider=self.provider, threads=self.threads)
        for fact in ("scale", "bands", "margin"):
            asked, there = getattr(self, fact), getattr(model, fact)
            if asked != there:
                raise SuperresError(f"The context says {fact} {asked}, the model {model.name} has {there}.")
        return model

    def _content(self) -> bytes:
        if self.weights is not None:
            return unpack_weights(self.weights)
        try:
            with open(str(self.model), "rb") as file:  # noqa: PTH123
                return file.read()
        except OSError as error:
            raise SuperresError(
                f"The model can't be read from {self.model!r} ({error}): does the job option "
                "'udf-dependency-archives' name the archive that holds it?"
            ) from error

    def border(self, shape: tuple[int, ...]) -> int:
        """How wide the edge of a chunk is that the back-end crops, per side, in 10 m pixels.

        None of it has to be computed. A chunk of another shape than the graph asked for comes from a back-end
        that hands over less at the edges of the data: nothing is left out then.
        """
        pixels = (self.scale if self.mode == "grid" else 1) * (self.size + 2 * self.overlap)
        return self.overlap if not self.size or shape == (pixels, pixels) else 0


def _whole(key: str, value: Any, least: int) -> int:
    """A whole number of a context, which JSON may have made a float."""
    if not isinstance(value, int | float) or value % 1 != 0 or value < least:
        raise SuperresError(
            f"The UDF's context has {key} {value!r}; expected a whole number from {least} on."
        )
    return int(value)


def pack_weights(weights: bytes) -> str:
    """Weights as text for a process graph: byte-shuffled (float16 planes compress better), LZMA, base64."""
    planes = weights[0::2] + weights[1::2]
    return base64.b64encode(lzma.compress(planes, preset=9)).decode("ascii")


def unpack_weights(text: str) -> bytes:
    """Undo :func:`pack_weights`.

    Raises:
        SuperresError: If the text is no such thing.
    """
    try:
        planes = lzma.decompress(base64.b64decode(text, validate=True))
    except (TypeError, ValueError, lzma.LZMAError) as error:
        raise SuperresError(f"The inline weights can't be unpacked: {error}") from error
    half = (len(planes) + 1) // 2
    weights = bytearray(len(planes))
    weights[0::2], weights[1::2] = planes[:half], planes[half:]
    return bytes(weights)


def select_bands(cube: xarray.DataArray, bands: tuple[str, ...]) -> xarray.DataArray:
    """Take the bands by name, in the model's order.

    Raises:
        SuperresError: If the cube lacks one.
    """
    if missing := [dim for dim in ("bands", "y", "x") if dim not in cube.dims]:
        raise SuperresError(
            f"The cube lacks dimension {', '.join(missing)}; it has {', '.join(map(str, cube.dims))}, "
            "expected (t,) bands, y, x."
        )
    if "bands" not in cube.coords:
        raise SuperresError(f"The cube's bands have no labels; expected {', '.join(bands)}.")
    there = [str(label) for label in cube["bands"].to_numpy()]
    if missing := [band for band in bands if band not in there]:
        raise SuperresError(
            f"The model needs bands {', '.join(bands)}; the cube has {', '.join(there)}. "
            f"Add {', '.join(missing)} when loading it."
        )
    order = [there.index(band) for band in bands]
    return cube if order == [*range(len(there))] else cube.isel(bands=order)


def refuse_reflectance(pixels: np.ndarray) -> None:
    """Tell reflectance (about 0 to 1) from DN: nothing that a satellite sees is below 2 DN in every band.

    Raises:
        SuperresError: If none of many valid numbers above 0 is above 2.
    """
    highest = np.fmax.reduce(pixels, axis=None, initial=0)
    if 0 < highest <= 2 and np.count_nonzero(pixels > 0) >= ENOUGH_NUMBERS:
        raise SuperresError(
            f"Expected digital numbers (reflectance x 10 000), but the largest value is {highest:g}: "
            "that looks like reflectance. Multiply by 10 000."
        )


def like_bands(result: xarray.DataArray, cube: xarray.DataArray) -> xarray.DataArray:
    """Put a result's bands and dimensions into the cube's order: back-ends label bands by position."""
    there = [str(label) for label in result["bands"].to_numpy()]
    order = [there.index(label) for label in map(str, cube["bands"].to_numpy()) if label in there]
    if order != [*range(len(there))]:
        result = result.isel(bands=order)
    return result.transpose(*cube.dims)


def grid_origin(cube: xarray.DataArray, pixel: float) -> tuple[int, int]:
    """Row and column of the cube's upper left corner on the grid of such pixels that starts at 0.

    Coordinates are rounded (back-ends hand over float32); where there are none the index is 0.
    """
    row = column = 0
    if "y" in cube.coords:
        centres = cube["y"].to_numpy().astype(float)
        northward = centres.size > 1 and centres[-1] > centres[0]
        edge = centres[0] + (-0.5 if northward else 0.5) * pixel
        row = round(edge / pixel) * (1 if northward else -1)
    if "x" in cube.coords:
        column = round((float(cube["x"][0]) - pixel / 2) / pixel)
    return row, column


def superresolve_cube(cube: xarray.DataArray, context: Context) -> xarray.DataArray:
    """Super-resolve one chunk of a back-end, dates one by one, in either mode.

    Args:
        cube: Dimensions ``(bands, y, x)``, or with a time dimension before them; in mode "grid" replicated to
            the output's grid (10 m bands ``scale`` times), in mode "upscale" on the 10 m grid.
        context: What the graph says.

    Returns:
        The model's bands in the cube's order, float32 DN, overlap included (NaN there where the context gives
        ``overlap``). In mode "grid" shape and coordinates are the cube's; in mode "upscale" there are more
        pixels, but no x and y: what arrives is too inexact to derive them from.
    """
    selected = select_bands(cube, context.bands)
    leading = [dim for dim in cube.dims if dim not in {"bands", "y", "x"}]
    selected = selected.transpose(*leading, "bands", "y", "x")
    pixels = selected.to_numpy()
    dates = pixels.reshape(-1, *pixels.shape[-3:])
    grid = context.mode == "grid"
    if not any(np.isfinite(dates[index]).any() for index in np.ndindex(dates.shape[:2])):
        # a chunk of nodata needs no model
        finer = 1 if grid else context.scale
        result = np.full((*dates.shape[:2], *(finer * n for n in dates.shape[2:])), np.nan, np.float32)
    elif grid:
        result = _on_grid(dates, context.open(), context, grid_origin(cube, PIXEL / context.scale))
    else:
        border = context.border(dates.shape[2:])
        result = _resolved(dates, context.open(), context, border, grid_origin(cube, PIXEL))
    coords = dict(selected.coords)
    if not grid:
        coords = {name: value for name, value in coords.items() if not {"x", "y"} & {*value.dims}}
    result = result.reshape(*pixels.shape[:-2], *result.shape[-2:])
    resolved = xarray.DataArray(result, coords, selected.dims, selected.name, selected.attrs)
    return like_bands(resolved, cube)


def _on_grid(dates: np.ndarray, model: Model, context: Context, origin: tuple[int, int]) -> np.ndarray:
    """From the output's own grid: take the 10 m samples, super-resolve, cut the result back to the chunk."""
    scale = model.scale
    height, width = dates.shape[-2:]
    phase = replication_phase(dates, scale, _phase_at(origin, scale))
    top, left = (-p % scale for p in phase)
    # of a 10 m pixel cut by the chunk's edge, what is at the edge
    rows, columns = (np.maximum(np.arange(-cut, n, scale), 0) for cut, n in ((top, height), (left, width)))
    start = ((origin[0] - top) // scale, (origin[1] - left) // scale)
    samples = dates[..., rows[:, None], columns]
    result = _resolved(samples, model, context, context.border((height, width)), start)
    result = result[..., top : top + height, left : left + width]
    for index in np.ndindex(dates.shape[:2]):
        result[index][~np.isfinite(dates[index])] = np.nan
    return result


def _resolved(
    dates: np.ndarray, model: Model, context: Context, border: int, origin: tuple[int, int]
) -> np.ndarray:
    """Each date of ``(dates, bands, y, x)`` on the 10 m grid, ``scale`` times finer; the border is NaN."""
    scale = model.scale
    height, width = (scale * n for n in dates.shape[-2:])
    result = np.full((*dates.shape[:2], height, width), np.nan, np.float32)
    dates = dates.astype(np.float32, order="C")
    # an offset would hide it
    refuse_reflectance(dates)
    dates += np.float32(context.offset)
    phase = _phase_at(origin, 2)
    if model.coarse:
        phase = replication_phase(dates[:, model.coarse], 2, phase)
    ring = scale * border
    for date, target in zip(dates, result, strict=True):
        core = target[:, ring : height - ring, ring : width - ring]
        superresolve_chunk(date, model, phase=phase, overlap=border, out=core)
    return result


def _phase_at(origin: tuple[int, int], factor: int) -> tuple[int, int]:
    """Phase, in range(factor), of cells that start at multiples of the factor."""
    return -origin[0] % factor, -origin[1] % factor


def apply_metadata(metadata: CubeMetadata, context: dict) -> CubeMetadata:  # type: ignore[type-arg]
    """Tell the back-end the result's resolution: unchanged in mode "grid", finer in mode "upscale"."""
    settings = Context.parse(context)
    if settings.mode == "grid":
        return metadata
    # where the step is not known, it is that of the pixels the network takes
    steps = {dim.name: abs(float(dim.step or PIXEL)) for dim in metadata.spatial_dimensions}
    return metadata.resample_spatial(resolution=[steps[axis] / settings.scale for axis in ("x", "y")])


def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:  # type: ignore[type-arg]
    """Entry point of openEO: see :func:`superresolve_cube` and :class:`Context`.

    The annotation suits both runtimes, "Python" and "Python-Jep"; either kind of cube is accepted.
    """
    array: Any = cube.get_array() if hasattr(cube, "get_array") else cube
    try:
        return XarrayDataCube(superresolve_cube(array, Context.parse(context)))
    except MemoryError as error:
        raise SuperresError(f"Out of memory on a chunk of {array.shape}: {error}. {MORE_MEMORY}") from error
