"""What a user reads who asks the back-end on localhost for what it can't do."""

from __future__ import annotations

import subprocess

import pytest
from openeo.rest import OpenEoApiError
from openeo.rest.job import JobFailedException

from .conftest import PYTHON, ROOT, Server, extent, finish
from .graphs import HEAD, IDENTITY, load, run


def test_request_too_large(connection) -> None:
    udf = f"{IDENTITY}\n# {'x' * (2 << 20)}\n"
    with pytest.raises(OpenEoApiError, match="413"):
        run(load(connection), udf).execute()


def test_errors_reach_the_user(connection, tmp_path) -> None:
    code = f"{HEAD}    raise ValueError('the cause')\n"
    cube = run(load(connection), code)
    with pytest.raises(OpenEoApiError, match="the cause"):
        cube.download(tmp_path / "a.tif")
    job = cube.create_job(out_format="GTiff")
    with pytest.raises(JobFailedException):
        finish(job)
    [entry] = list(job.logs(level="error"))
    assert "the cause" in entry["message"]
    assert "line 8, in apply_datacube" in entry["message"]


@pytest.mark.parametrize("left", [-5000, 512])
def test_no_data_there(connection, tmp_path, left) -> None:
    with pytest.raises(OpenEoApiError, match=r"\[400\] NoDataAvailable"):
        load(connection, extent(left)).download(tmp_path / "a.tif")


def test_nothing_is_left(connection, tmp_path) -> None:
    cube = load(connection, extent()).filter_bbox(extent(300, 300))
    with pytest.raises(OpenEoApiError, match=r"\[400\] NoDataAvailable"):
        cube.download(tmp_path / "a.tif")


def test_unknown_runtime(connection, tmp_path) -> None:
    graph = run(load(connection), IDENTITY).flat_graph()
    udf = graph["applyneighborhood1"]["arguments"]["process"]["process_graph"]["runudf1"]
    udf["arguments"]["runtime"] = "R"
    with pytest.raises(OpenEoApiError, match=r"\[400\].*there are Python, Python-Jep"):
        connection.download(graph, tmp_path / "a.tif")


def test_size_that_is_no_number(connection, tmp_path) -> None:
    graph = run(load(connection), IDENTITY).flat_graph()
    graph["applyneighborhood1"]["arguments"]["size"][0]["value"] = "many"
    with pytest.raises(OpenEoApiError, match=r"\[400\].*expected a number of pixels"):
        connection.download(graph, tmp_path / "a.tif")


def test_broken_graphs(connection, tmp_path) -> None:
    graph = load(connection).reduce_dimension(dimension="t", reducer="mean").flat_graph()
    del graph["reducedimension1"]["arguments"]["reducer"]["process_graph"]["mean1"]["result"]
    with pytest.raises(OpenEoApiError, match=r"\[400\].*no result node"):
        connection.download(graph, tmp_path / "a.tif")
    graph["reducedimension1"]["arguments"]["data"]["from_node"] = "nowhere"
    with pytest.raises(OpenEoApiError, match=r"\[400\].*'nowhere'"):
        connection.download(graph, tmp_path / "a.tif")


def test_processes_that_are_not_here(connection, tmp_path) -> None:
    cube = load(connection)
    with pytest.raises(OpenEoApiError, match=r"\[501\].*rename_labels"):
        cube.rename_labels("bands", ["a", "b"]).download(tmp_path / "a.tif")
    with pytest.raises(OpenEoApiError, match=r"\[501\].*'sd'"):
        cube.reduce_dimension(dimension="t", reducer="sd").download(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("name", "reason"), [("nothing.zip", "404"), ("text.zip", "no archive"), (None, "ConnectionError")]
)
def test_archives_that_are_not_there(connection, server: Server, name, reason) -> None:
    (server.public / "text.zip").write_text("no archive")
    # nobody listens at port 9
    url = server.publish(name) if name else "http://127.0.0.1:9/a.zip"
    job = run(load(connection), IDENTITY).create_job(job_options={"udf-dependency-archives": [url]})
    with pytest.raises(JobFailedException):
        finish(job)
    [entry] = job.logs(level="error")
    assert url in entry["message"]
    assert reason in entry["message"]


def test_no_sample() -> None:
    command = [PYTHON, "-m", "backend", "--data", "nowhere"]
    done = subprocess.run(command, cwd=ROOT / "tests", capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "There is no nowhere/virginia_10m.tif, no nowhere/virginia_20m.tif.\n"
