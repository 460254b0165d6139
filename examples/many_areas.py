"""Super-resolve a season over several areas: a batch job per area, a few at a time.

Interrupt it and start it again: OUTPUT/jobs.csv says which jobs are done, and running ones are found again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import geopandas
from connection import command_line, connect
from openeo.extra.job_management import MultiBackendJobManager, create_job_db

from openeo_superres import DEFAULT_MODEL, job_options, load_sentinel2, save_options, superresolve
from openeo_superres.bundle import PUBLIC_ONNXRUNTIME

if TYPE_CHECKING:
    import openeo
    import pandas as pd


def start_job(row: pd.Series, connection: openeo.Connection, **_: object) -> openeo.BatchJob:
    """Create the job of one row; the manager starts and watches it and downloads the results."""
    area = {key: row[key].item() for key in ("west", "south", "east", "north", "crs")}
    fine = superresolve(load_sentinel2(connection, area, [row.start, row.end], max_cloud_cover=20), row.model)
    result = fine.save_result("GTiff", options=save_options(row.model))
    settings = job_options(row.model, onnxruntime=row.onnxruntime)
    return result.create_job(title=f"Super-resolution of {row['name']}", job_options=settings)


def main() -> None:
    """Make a table with a row per job, and hand it to openEO's job manager."""
    parser = command_line(__doc__)
    parser.add_argument("--areas", type=Path, default=Path(__file__).with_name("areas.geojson"))
    parser.add_argument("--season", nargs=2, default=["2016-06-01", "2016-10-01"], metavar=("START", "END"))
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--onnxruntime", default=PUBLIC_ONNXRUNTIME, help="URL of an archive that holds it")
    parser.add_argument("--poll", type=int, default=60, help="seconds between looks at the jobs")
    options = parser.parse_args()

    # The areas' bounding boxes, in their UTM zone and widened to multiples of 20 m, where the samples are.
    areas = geopandas.read_file(options.areas)
    zone = areas.estimate_utm_crs()
    boxes = areas.to_crs(zone).buffer(20).bounds // 20 * 20
    boxes.columns = ["west", "south", "east", "north"]
    start, end = options.season
    jobs = boxes.assign(name=areas["name"], crs=zone.to_epsg(), start=start, end=end, model=options.model)
    jobs = jobs.assign(onnxruntime=options.onnxruntime)

    manager = MultiBackendJobManager(root_dir=options.output, poll_sleep=options.poll)
    manager.add_backend("backend", connection=connect(options), parallel_jobs=2)
    options.output.mkdir(parents=True, exist_ok=True)
    database = create_job_db(options.output / "jobs.csv", jobs, on_exists="skip")
    manager.run_jobs(start_job=start_job, job_db=database)
    print(database.read()[["name", "id", "status"]].to_string(index=False))


if __name__ == "__main__":
    main()
