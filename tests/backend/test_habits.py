"""A back-end with other habits: shorter chunks at the edges of a layer, and no word of the pixel size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from openeo_superres import load_sentinel2, superresolve, superresolve_local

from .conftest import (
    BANDS,
    CLEAR,
    CLOUDY,
    MODEL,
    Server,
    assert_same,
    download,
    extent,
    finish,
    publish_item,
    serving,
)
from .graphs import IDENTITY, RECORD, load, records, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import openeo


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, onnxruntime_archive: Path) -> Iterator[Server]:
    options = ("--short-edges", "--unknown-step", "--onnxruntime", onnxruntime_archive)
    with serving(tmp_path_factory.mktemp("other"), *options) as running:
        yield running


@pytest.fixture(scope="module")
def connection(other: Server) -> openeo.Connection:
    return other.connect()


@pytest.fixture(params=["grid", "upscale"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


def test_chunks(connection) -> None:
    job = finish(run(load(connection, extent(100, 100, 60, 60)), RECORD).create_job(out_format="GTiff"))
    # 68 pixels with the overlap: 32, 32 and 4
    shapes = sorted({tuple(record["shape"][1:]) for record in records(job)})
    assert shapes == [(a, b) for a in (8, 36, 40) for b in (8, 36, 40)]
    assert {record["nan"] for record in records(job)} == {0}


@pytest.mark.parametrize("runtime", ["Python", "Python-Jep"])
def test_identity(connection, tmp_path, runtime) -> None:
    cube = load(connection, extent(7, 9))
    result = run(cube, IDENTITY, size=20, overlap=9, runtime=runtime)
    np.testing.assert_array_equal(download(result, tmp_path, "b.tif"), download(cube, tmp_path, "a.tif"))


@pytest.mark.parametrize("size", [33, 64])
def test_edge_of_what_was_loaded(connection, other, measured, tmp_path, mode, size) -> None:
    """Shorter chunks have no edge that can be left out."""
    box = extent(33, 44, 90, 80)
    inside = measured[CLEAR[0]][:, 44:124, 33:123]
    cube = connection.load_stac(publish_item(other), box, list(CLEAR), BANDS)
    result = download(superresolve(cube, MODEL, mode=mode, size=size), tmp_path)
    assert_same(result, superresolve_local(inside, MODEL), box)


def test_nodata(connection, expected, tmp_path, mode) -> None:
    box = extent(280, 185, 90, 70)
    cube = load_sentinel2(connection, box, CLOUDY)
    assert_same(download(superresolve(cube, MODEL, mode=mode, size=41), tmp_path), expected[CLOUDY[0]], box)
