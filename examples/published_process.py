"""Super-resolve with a process that somebody published: all that is needed is its URL.

openeo-superres udp --output process.json        # such a process, to put where the back-end can read it
python published_process.py https://openeo.dataspace.copernicus.eu https://.../process.json
"""

from __future__ import annotations

import requests
from connection import AREA, SUMMER, command_line, connect


def main() -> None:
    """Call the process, and run it as its definition recommends."""
    parser = command_line(__doc__)
    parser.add_argument("process", help="URL of its JSON definition")
    parser.add_argument("--period", nargs=2, default=SUMMER, metavar=("START", "END"), help="END excluded")
    options = parser.parse_args()
    connection = connect(options)

    # The definition holds graph, UDF, weights and job options; the last are for whoever starts a job.
    process = requests.get(options.process, timeout=60).json()
    print(f"{process['id']}: {process['summary']}")

    # The back-end reads the URL itself: only this call travels.
    fine = connection.datacube_from_process(
        process["id"],
        namespace=options.process,
        spatial_extent=AREA,
        temporal_extent=options.period,
        max_cloud_cover=20,
    )
    job = fine.execute_batch(
        title=process["summary"], out_format="GTiff", job_options=process["default_job_options"]
    )
    for path in job.get_results().download_files(options.output):
        print(path)


if __name__ == "__main__":
    main()
