"""Super-resolve an area in a batch job and download a GeoTIFF per date.

python batch_job.py                                           # Copernicus Data Space Ecosystem
python batch_job.py --bbox 436000 4160000 437000 4161000      # another area, in --crs
python batch_job.py http://127.0.0.1:8080 --user test --password test123 --onnxruntime http://...
"""

from __future__ import annotations

from connection import AREA, SUMMER, command_line, connect

from openeo_superres import DEFAULT_MODEL, job_options, load_sentinel2, save_options, superresolve
from openeo_superres.bundle import PUBLIC_ONNXRUNTIME


def main() -> None:
    """Load, super-resolve, save."""
    parser = command_line(__doc__)
    sides = [AREA[side] for side in ("west", "south", "east", "north")]
    parser.add_argument("--bbox", type=float, nargs=4, default=sides, metavar=("W", "S", "E", "N"))
    parser.add_argument("--crs", type=int, default=AREA["crs"], help="EPSG code of --bbox")
    parser.add_argument("--period", nargs=2, default=SUMMER, metavar=("START", "END"), help="END excluded")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--onnxruntime", default=PUBLIC_ONNXRUNTIME, help="URL of an archive that holds it")
    options = parser.parse_args()
    connection = connect(options)

    # Ten bands on the 10 m grid, those of 20 m replicated: nothing is interpolated before the network.
    area = dict(zip(("west", "south", "east", "north"), options.bbox, strict=True), crs=options.crs)
    cube = load_sentinel2(connection, area, options.period, max_cloud_cover=20)

    # The same ten bands at 5 m, date by date. The network's weights travel in the process graph.
    fine = superresolve(cube, options.model)

    # Numbers stay reflectance x 10 000; tags in the files say so, and which network made them.
    result = fine.save_result("GTiff", options=save_options(options.model))

    # Back-ends have no onnxruntime: an archive with it and enough memory are the job's options.
    job = result.execute_batch(
        title=f"Super-resolution with {options.model}",
        job_options=job_options(options.model, onnxruntime=options.onnxruntime),
    )
    for path in job.get_results().download_files(options.output):
        print(path)


if __name__ == "__main__":
    main()
