"""The pixels' way through: what is read, computed and written, in which order, and what goes wrong."""

import threading
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from rasterio._env import get_gdal_config

from openeo_superres import load_card, memory, stream, superresolve_scene
from openeo_superres.errors import SceneError
from openeo_superres.scene import open_scene
from openeo_superres.sensor import BANDS
from openeo_superres.udf import superresolve_chunk

SAMPLE = Path(__file__).parents[1] / "examples" / "data"


class Collected:
    """An output in memory."""

    def __init__(self, bands=10, height=512, width=512):
        self.pixels = np.full((bands, height, width), np.nan, np.float32)
        self.corners = []

    def write(self, dn, col, row):
        self.corners.append((row, col))
        self.pixels[:, row : row + dn.shape[1], col : col + dn.shape[2]] = dn


@pytest.fixture
def scene():
    return open_scene(SAMPLE)


def run(scene, model, output, *, region=(0, 0, 256, 256), size=64, **options):
    with stream.block_cache(scene, size + 2 * model.margin):
        stream.stream(scene, region, [(model, output)], size=size, **options)


@pytest.fixture
def no_thread_stays():
    before = {*threading.enumerate()}
    yield
    assert {*threading.enumerate()} <= before


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_what_is_written_is_the_whole_in_the_order_of_rows(scene, image, mtf_model, workers):
    output, told = Collected(), []
    run(scene, mtf_model, output, threads=2, workers=workers, progress=lambda *numbers: told.append(numbers))
    margin = mtf_model.margin
    whole = superresolve_chunk(image[:, : 256 + margin, : 256 + margin], mtf_model)[:, :512, :512]
    np.testing.assert_allclose(output.pixels, whole, rtol=2e-6, atol=0.01)
    assert output.corners == sorted(output.corners)
    assert len(output.corners) == 16
    assert [done for done, _ in told] == [64 * 64 * n for n in range(1, 17)]
    assert {total for _, total in told} == {256 * 256}


def test_chunks_without_valid_pixels_reach_neither_network_nor_file(scene, nearest_model, monkeypatch):
    """A swath's edge: half of a tile may have no pixels."""
    computed = []
    original = stream.superresolve_chunk

    def counting(*args, **options):
        computed.append(1)
        return original(*args, **options)

    monkeypatch.setattr(stream, "superresolve_chunk", counting)
    opened = type(scene).opened

    def half(self, threads=1):
        def cut(window, read):
            pixels = read(window)
            pixels[:, :, max(128 - window[0], 0) :] = np.nan
            return pixels

        class Opened:
            def __enter__(inner):  # noqa: N805
                inner.files = opened(self, threads)
                read = inner.files.__enter__()
                return lambda window: cut(window, read)

            def __exit__(inner, *error):  # noqa: N805
                return inner.files.__exit__(*error)

        return Opened()

    monkeypatch.setattr(type(scene), "opened", half)
    output, told = Collected(), []
    run(scene, nearest_model, output, progress=lambda *numbers: told.append(numbers))
    assert {col for _, col in output.corners} == {0, 128}
    assert len(computed) == 8
    assert np.isfinite(output.pixels[:, :, :256]).all()
    assert np.isnan(output.pixels[:, :, 256:]).all()
    assert told[-1] == (256 * 256, 256 * 256)


@pytest.fixture
def tiled(tmp_path, sample):
    """The sample as JPEG 2000 in tiles, one file per band."""
    for band, name in enumerate(band.name for band in BANDS):
        fine = BANDS[band].resolution == 10
        pixels = sample[0][[b.name for b in BANDS if b.resolution == 10].index(name)] if fine else None
        if pixels is None:
            pixels = sample[1][[b.name for b in BANDS if b.resolution == 20].index(name)]
        profile = {
            "driver": "JP2OpenJPEG",
            "width": pixels.shape[1],
            "height": pixels.shape[0],
            "count": 1,
            "dtype": "uint16",
            "crs": "EPSG:32618",
            "transform": rasterio.Affine(5120 / len(pixels), 0, 435_740, 0, -5120 / len(pixels), 4_165_120),
            "reversible": True,
            "quality": 100,
            "blockxsize": 128,
            "blockysize": 128,
        }
        with rasterio.open(tmp_path / f"tile_{name}.jp2", "w", **profile) as dataset:
            dataset.write(pixels.astype(np.uint16), 1)
    return tmp_path


def bytes_read():
    """What this process has read from files so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts reads by /proc")
def test_each_block_is_decoded_about_once(tiled, nearest_model, monkeypatch):
    """Though chunks overlap and strips are lower than blocks: a block that is decoded again is read again."""
    scene = open_scene(tiled)

    def counted(read, **options):
        before = bytes_read()
        with rasterio.Env(GDAL_NUM_THREADS="1", **options):
            read()
        return bytes_read() - before

    def block_by_block():
        for file in scene.files:
            with rasterio.open(file.path) as dataset:
                for _, window in dataset.block_windows():
                    dataset.read(1, window=window)

    def streamed():
        stream.stream(scene, (0, 0, 512, 512), [(nearest_model, Collected(10, 1024, 1024))], size=64)

    once = counted(block_by_block)
    # nothing is written here; GDAL counts some bytes more for each block
    monkeypatch.setattr(stream, "WRITE_CACHE", 1 << 17)
    with stream.block_cache(scene, 64 + 2 * nearest_model.margin):
        assert counted(streamed) < 1.2 * once
    assert counted(streamed, GDAL_CACHEMAX=1 << 19) > 1.5 * once


def cache_size():
    return get_gdal_config("GDAL_CACHEMAX")


def wide(block_rows):
    file = SimpleNamespace(block_rows=block_rows, step=1, height=10_980, width=10_980, dtype="uint16")
    return SimpleNamespace(files=(file,), hidden=(SimpleNamespace(file=file),))


@pytest.mark.parametrize(
    ("block_rows", "height", "rows"),
    [(1024, 580, 2048), (1024, 1100, 3072), (512, 580, 1536), (1, 580, 581), (10_980, 580, 10_980)],
)
def test_the_cache_holds_what_a_strip_touches(block_rows, height, rows):
    """Of bands and masks."""
    with stream.block_cache(wide(block_rows), height):
        assert cache_size() == 2 * rows * 10_980 * 2 + stream.WRITE_CACHE


def test_the_cache_is_bounded():
    several = wide(10_980)
    several.files *= 10
    with stream.block_cache(several, 580):
        assert cache_size() == stream.LARGEST_CACHE


@pytest.mark.parametrize("around", [{}, {"GDAL_CACHEMAX": 90 << 20}, None])
def test_the_cache_of_the_process_has_its_size_again(scene, around):
    """Within an environment of the user, with a size of its own or without, and without one."""
    before = cache_size()
    with nullcontext() if around is None else rasterio.Env(**around):
        inside = cache_size()
        with suppress(ZeroDivisionError), stream.block_cache(scene, 80):
            assert cache_size() not in {before, inside}
            raise ZeroDivisionError
        assert cache_size() == inside
    memory.set_gdal_config("GDAL_CACHEMAX", before)


@pytest.mark.usefixtures("no_thread_stays")
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1])
def test_a_file_cut_short_ends_the_run(tiled, nearest_model, kept):
    """Half-way: its header is whole."""
    scene = open_scene(tiled)
    path = tiled / "tile_B08.jp2"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(SceneError, match=r"tile_B08\.jp2"):
        run(scene, nearest_model, Collected(10, 1024, 1024), region=(0, 0, 512, 512))


@pytest.mark.usefixtures("no_thread_stays")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("fault", [KeyboardInterrupt, ZeroDivisionError])
def test_an_error_in_the_network_ends_the_run_soon(scene, nearest_model, monkeypatch, fault, workers):
    calls = []

    def fail(*_args, **_options):
        calls.append(1)
        raise fault

    monkeypatch.setattr(stream, "superresolve_chunk", fail)
    with pytest.raises(fault):
        run(scene, nearest_model, Collected(), workers=workers)
    assert len(calls) <= 2 * workers + 1  # of 16: what was begun


@pytest.mark.usefixtures("no_thread_stays")
def test_an_error_in_writing_ends_the_run_soon(scene, nearest_model):
    class Full(Collected):
        def write(self, dn, col, row):
            super().write(dn, col, row)
            raise OSError(28, "No space left on device")

    output = Full()
    with pytest.raises(OSError, match="No space"):
        run(scene, nearest_model, output)
    assert len(output.corners) == 1


def test_the_last_write_is_waited_for(scene, nearest_model):
    class FullAtTheEnd(Collected):
        def write(self, dn, col, row):
            super().write(dn, col, row)
            if (row, col) == (384, 384):
                raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        run(scene, nearest_model, FullAtTheEnd())


@pytest.mark.parametrize("workers", [1, 2])
def test_as_many_chunks_at_once_as_there_are_workers(scene, nearest_model, monkeypatch, workers):
    lock, running, most = threading.Lock(), [0], [0]
    original = stream.superresolve_chunk

    def watched(*args, **options):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        threading.Event().wait(0.005)
        try:
            return original(*args, **options)
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(stream, "superresolve_chunk", watched)
    run(scene, nearest_model, Collected(), workers=workers)
    assert most[0] == workers


@pytest.mark.parametrize(
    ("there", "threads", "workers", "each"),
    [(1, None, 1, 1), (2, None, 2, 1), (8, None, 2, 4), (8, 3, 2, 1), (2, 64, 2, 1), (8, 1, 1, 1)],
)
def test_threads_are_shared_out(monkeypatch, mtf_card, there, threads, workers, each):
    """Workers x threads of a session: never more than asked for, nor than there are cores."""
    monkeypatch.setattr(stream.os, "sched_getaffinity", lambda _pid: set(range(there)), raising=False)
    asked = []
    monkeypatch.setattr(type(mtf_card), "open", lambda _card, *given: asked.append(given))
    stream.open_model(mtf_card, "cpu", threads)
    assert stream.worker_count(mtf_card, threads) == workers
    assert asked == [("cpu", each)]


def test_a_network_that_takes_much_memory_has_all_threads_and_one_chunk_at_once(monkeypatch):
    monkeypatch.setattr(stream.os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    card = load_card("carn_3x3x64g4sw")
    asked = []
    monkeypatch.setattr(type(card), "open", lambda _card, *given: asked.append(given))
    stream.open_model(card, "cpu", None)
    assert stream.worker_count(card, None) == 1
    assert asked == [("cpu", 8)]


def test_files_are_decoded_by_as_many_threads_as_asked_for(scene, nearest_model, monkeypatch):
    opened, asked = type(scene).opened, []
    monkeypatch.setattr(stream, "cores", lambda threads: threads)
    monkeypatch.setattr(
        type(scene), "opened", lambda self, threads=1: asked.append(threads) or opened(self, threads)
    )
    run(scene, nearest_model, Collected(), threads=3)
    assert asked == [3]


def test_models_side_by_side_have_the_context_of_the_one_that_looks_farthest(
    scene, image, nearest_model, mtf_model
):
    assert nearest_model.margin < mtf_model.margin
    part = superresolve_chunk(image[:, :200, :200], mtf_model)[:, 100:228, 60:188]
    outputs = [(nearest_model, Collected(10, 128, 128)), (mtf_model, Collected(10, 128, 128))]
    stream.stream(scene, (30, 50, 64, 64), outputs, size=32)
    np.testing.assert_array_equal(
        outputs[0][1].pixels, image[:, 50:114, 30:94].repeat(2, axis=1).repeat(2, axis=2)
    )
    np.testing.assert_allclose(outputs[1][1].pixels, part, rtol=2e-6, atol=0.01)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at threads by /proc")
def test_no_thread_of_others_works_for_it(tmp_path):
    """Such as those of BLAS, which no number of ours holds back."""

    def spent():
        stats = {task.name: (task / "stat").read_text() for task in Path("/proc/self/task").iterdir()}
        return {name: sum(map(int, stat.rpartition(")")[2].split()[11:13])) for name, stat in stats.items()}

    before = spent()
    superresolve_scene(SAMPLE, tmp_path / "out.tif", "cubic_mtf", threads=1)
    ours = str(threading.get_native_id())
    others = {
        name: ticks - before[name] for name, ticks in spent().items() if name in before and name != ours
    }
    assert max(others.values(), default=0) <= 1
