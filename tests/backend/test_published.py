"""Processes saved and published, and the job manager, on the back-end on localhost."""

from __future__ import annotations

import json
from typing import Any

import openeo
import pandas as pd
from openeo.extra.job_management import CsvJobDatabase, MultiBackendJobManager

from openeo_superres import build_process, job_options, load_sentinel2, superresolve

from .conftest import BOTH, CLEAR, MODEL, assert_same, download, extent, finish, read, tiffs


def test_saved_process(equipped, expected, tmp_path) -> None:
    connection = equipped.connect()
    process = build_process(MODEL, size=64)
    connection.save_user_defined_process(process["id"], process["process_graph"], process["parameters"])
    box = extent(61, 60)
    arguments = {"spatial_extent": box, "temporal_extent": list(BOTH), "max_cloud_cover": 20}
    cube = connection.datacube_from_process(process["id"], **arguments)
    assert_same(download(cube, tmp_path), expected[CLEAR[0]], box)


def test_process_by_url(server, archive_url, expected, tmp_path) -> None:
    """The published process brings its job options along."""
    process = build_process(MODEL, size=64, onnxruntime=archive_url)
    (server.public / "process.json").write_text(json.dumps(process))
    box = extent(60, 61)
    arguments = {"spatial_extent": box, "temporal_extent": list(BOTH), "max_cloud_cover": 20}
    url = server.publish("process.json")
    cube = server.connect().datacube_from_process(process["id"], namespace=url, **arguments)
    job = finish(cube.create_job(out_format="GTiff"))
    [path] = tiffs(job, tmp_path)
    assert_same(read(path), expected[CLEAR[0]], box)


def test_job_manager(server, archive_url, expected, tmp_path) -> None:
    manager = MultiBackendJobManager(poll_sleep=1, root_dir=tmp_path)
    manager.add_backend("local", server.connect(), parallel_jobs=2)
    jobs = CsvJobDatabase(tmp_path / "jobs.csv")
    jobs.initialize_from_df(pd.DataFrame({"left": [60, 121]}))

    def start(row: Any, connection: openeo.Connection, **_: Any) -> openeo.BatchJob:
        cube = load_sentinel2(connection, extent(int(row["left"])), CLEAR)
        fine = superresolve(cube, MODEL, size=64)
        return fine.create_job(out_format="GTiff", job_options=job_options(MODEL, onnxruntime=archive_url))

    manager.run_jobs(job_db=jobs, start_job=start)
    done = jobs.read()
    assert [*done["status"]] == ["finished"] * 2
    for _, row in done.iterrows():
        [path] = tmp_path.glob(f"job_{row['id']}/*.tif")
        assert_same(read(path), expected[CLEAR[0]], extent(int(row["left"])))
