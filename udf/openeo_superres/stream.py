"""A scene's pixels, streamed: read ahead by strips, super-resolved by chunks, written behind, all at once."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from . import memory
from .trust import half_width
from .udf import Model, superresolve_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from numpy.typing import NDArray

    from .bandfile import BandFile
    from .card import ModelCard
    from .scene import Scene, Window
    from .trust import Trust

Item = TypeVar("Item")
Result = TypeVar("Result")

SIZE = 512
"""Edge of a chunk on a CPU, in 10 m pixels. Less computes more overlap, more leaves the caches: 512 to 1024
take the same time, and 1024 more than twice the memory."""
STRIP = 2048
"""Widest read, in 10 m pixels: 50 MiB of ten bands, however wide the scene is."""
WORKERS, BUDGET = 2, 2 << 30
"""Chunks that are computed at once, if there are cores and their networks take no more bytes than that: what
is no network in one hides behind the other, and two sessions of a thread are faster than one of two."""
WRITE_CACHE, LARGEST_CACHE = 64 << 20, 1 << 30
"""Bytes of GDAL's block cache: for what is written, and the most it may take."""


class Output(Protocol):
    """What takes a model's pixels."""

    def write(self, dn: NDArray[np.float32], col: int, row: int) -> None:
        """Write ``(bands, y, x)`` float32 DN, NaN for nodata, with its upper left corner at a pixel."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Pixels of a chunk with its overlap."""

    image: NDArray[np.float32]
    """``(bands, height + 2 overlap, width + 2 overlap)`` DN in the scene's order."""
    col: int
    row: int
    """Of the chunk without overlap, from the region's corner."""
    phase: tuple[int, int]
    """Of the 20 m cells in ``image``."""
    overlap: int

    @property
    def inner(self) -> NDArray[np.float32]:
        """The pixels without overlap."""
        rows, columns = (slice(self.overlap, n - self.overlap) for n in self.image.shape[1:])
        return self.image[:, rows, columns]


def cores(threads: int | None) -> int:
    """Threads to use: those asked for, or all, but no more than the cores this process may run on."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(threads or there, there)


def worker_count(card: ModelCard, threads: int | None = None) -> int:
    """Chunks of a model that are computed at once, each by its share of the threads (None: every core)."""
    taken = (SIZE + 2 * card.margin) ** 2 * (card.memory or 0)
    fitting = BUDGET // taken if taken else WORKERS
    return max(min(WORKERS, cores(threads), fitting), 1)


def open_model(card: ModelCard, provider: str = "auto", threads: int | None = None) -> Model:
    """Open a model to be streamed through.

    Args:
        card: Of the model.
        provider: "auto", "cpu" or "cuda".
        threads: Of all workers (:func:`worker_count`); None for every core.
    """
    return card.open(provider, cores(threads) // worker_count(card, threads))


def chunk_size(model: Model, card: ModelCard, threads: int | None = None) -> int:
    """Edge of chunks in 10 m pixels, without overlap, where the model runs: as large as its memory allows.

    A larger chunk serves a GPU as a batch of small ones would, and computes less overlap.
    """
    on_gpu = model.provider == "cuda"
    there = memory.of_gpu() if on_gpu else memory.of_host()
    if there is None or not card.memory:
        return SIZE
    largest = memory.largest_chunk(
        there, margin=model.margin, bytes_per_pixel=card.memory, chunks=worker_count(card, threads)
    )
    return largest if on_gpu else min(largest, SIZE)


@contextmanager
def block_cache(scene: Scene, height: int) -> Iterator[None]:
    """GDAL's block cache as a scene's strips need it: no block is decoded twice, nor kept in vain.

    Strips of one height in 10 m pixels, overlap included, follow each other from left to right; what they
    touch is kept for those below.
    """
    rows = sum(
        _rows_touched(file, height) * file.width * np.dtype(file.dtype).itemsize
        for file in (*scene.files, *(mask.file for mask in scene.hidden))
    )
    with memory.gdal_cache(min(rows + WRITE_CACHE, LARGEST_CACHE)):
        yield


def _rows_touched(file: BandFile, height: int) -> int:
    """Rows of a file's pixels, of whole blocks, that a strip may touch; its height is in 10 m pixels."""
    blocks = -(-(height // file.step) // file.block_rows) + 1
    return min(blocks * file.block_rows, file.height)


def stream(
    scene: Scene,
    region: Window,
    outputs: list[tuple[Model, Output]],
    *,
    size: int,
    threads: int | None = None,
    workers: int = 1,
    uncertainty: tuple[Trust, Output] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Super-resolve a region.

    Chunks are written in the order of rows. Those without valid pixels are not: they stay nodata.

    Args:
        scene: What is read.
        region: Of the scene.
        outputs: Models, and where their pixels go, counted from the region's corner in pixels of the result.
        size: Edge of a chunk in 10 m pixels.
        threads: That decode; None for every core.
        workers: Chunks that are computed at once: see :func:`worker_count`.
        uncertainty: Of the first model, and where the half-widths go.
        progress: Called with the 10 m pixels done, and all of them.
    """
    overlap = max(model.margin for model, _ in outputs)
    models = [(model, [scene.bands.index(band) for band in model.bands]) for model, _ in outputs]
    targets = [(output, model.scale) for model, output in outputs]
    if uncertainty:
        targets.append((uncertainty[1], outputs[0][0].scale))
    done, total = 0, region[2] * region[3]

    compute = partial(_compute, models=models, trust=uncertainty and uncertainty[0])

    def write(results: list[NDArray[np.float32]] | None, chunk: _Chunk) -> None:
        for (output, scale), result in zip(targets, results or (), strict=bool(results)):
            output.write(result, scale * chunk.col, scale * chunk.row)

    network, behind = ThreadPoolExecutor(workers), ThreadPoolExecutor(1)
    written: Future[None] | None = None
    try:
        with closing(_chunks(scene, region, size=size, overlap=overlap, threads=cores(threads))) as chunks:
            for chunk, results in _mapped(network, compute, chunks, ahead=workers):
                if written:
                    written.result()
                written = behind.submit(write, results, chunk)
                done += chunk.inner[0].size
                if progress:
                    progress(done, total)
            if written:
                written.result()
    finally:
        # after an error, what waits is not begun
        for pool in (network, behind):
            pool.shutdown(wait=False, cancel_futures=True)
        # a second interrupt, while the network ends, must not close the file that is being written
        with behind:
            network.shutdown()


def _compute(
    chunk: _Chunk, models: list[tuple[Model, list[int]]], trust: Trust | None
) -> list[NDArray[np.float32]] | None:
    """What each model makes of its bands of a chunk, then the half-widths of the first; None of nodata."""
    if not np.isfinite(chunk.inner).any():
        return None
    images = [chunk.image[order] for _, order in models]
    results = [
        superresolve_chunk(image, model, phase=chunk.phase, overlap=chunk.overlap)
        for image, (model, _) in zip(images, models, strict=True)
    ]
    if trust:
        coarse = models[0][0].coarse
        results.append(
            half_width(images[0], results[0], trust, coarse=coarse, phase=chunk.phase, overlap=chunk.overlap)
        )
    return results


def _mapped(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int
) -> Generator[tuple[Item, Result]]:
    """Items with what a pool's threads make of them, in order; so many more are begun beforehand."""
    begun: deque[tuple[Item, Future[Result]]] = deque()
    for item in items:
        begun.append((item, pool.submit(function, item)))
        if len(begun) > ahead:
            first, future = begun.popleft()
            yield first, future.result()
    for item, future in begun:
        yield item, future.result()


def _chunks(scene: Scene, region: Window, *, size: int, overlap: int, threads: int) -> Generator[_Chunk]:
    """Cut a region into chunks by rows; a thread reads the next strip of them ahead."""
    left, top, width, height = region
    step = max(STRIP // size, 1) * size
    strips = [(col, row) for row in range(0, height, size) for col in range(0, width, step)]

    with scene.opened(threads) as read_window, ThreadPoolExecutor(1) as reader:

        def read(corner: tuple[int, int]) -> NDArray[np.float32]:
            col, row = corner
            return read_window(
                (
                    left + col - overlap,
                    top + row - overlap,
                    min(step, width - col) + 2 * overlap,
                    min(size, height - row) + 2 * overlap,
                )
            )

        for (col, row), image in _mapped(reader, read, strips, ahead=1):
            for start in range(0, image.shape[2] - 2 * overlap, size):
                phase = (
                    (scene.phase[0] - (top + row - overlap)) % 2,
                    (scene.phase[1] - (left + col + start - overlap)) % 2,
                )
                part = image[:, :, start : start + size + 2 * overlap]
                yield _Chunk(part, col + start, row, phase, overlap)
