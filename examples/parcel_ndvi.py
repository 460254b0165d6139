"""NDVI of parcels from super-resolved bands, in one process graph: only a small table is downloaded.

Clouds are masked (band SCL), the bands super-resolved, NDVI taken at 5 m and averaged over each parcel.
"""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
from connection import command_line, connect

from openeo_superres import DEFAULT_MODEL, job_options, load_sentinel2, superresolve
from openeo_superres.bundle import PUBLIC_ONNXRUNTIME

CLOUD_SHADOW, CLOUD, DENSE_CLOUD, CIRRUS = 3, 8, 9, 10
"""Classes of SCL, the scene classification of Level-2A."""


def main() -> None:
    """Mask, super-resolve, NDVI, mean per parcel and date."""
    parser = command_line(__doc__)
    parser.add_argument("--parcels", type=Path, default=Path(__file__).with_name("parcels.geojson"))
    parser.add_argument("--period", nargs=2, default=["2016-08-01", "2016-09-01"], metavar=("START", "END"))
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--onnxruntime", default=PUBLIC_ONNXRUNTIME, help="URL of an archive that holds it")
    options = parser.parse_args()
    connection = connect(options)

    # The parcels' surroundings, on multiples of 20 m in their UTM zone.
    parcels = geopandas.read_file(options.parcels)
    zone = parcels.estimate_utm_crs()
    west, south, east, north = (parcels.to_crs(zone).buffer(200).total_bounds // 20 * 20).tolist()
    area = {"west": west, "south": south, "east": east, "north": north, "crs": zone.to_epsg()}

    # Loaded together, SCL comes on the 10 m grid, too. Masked pixels stay nodata at 5 m.
    cube = load_sentinel2(connection, area, options.period, extra_bands=["SCL"])
    scl = cube.band("SCL")
    cube = cube.mask((scl == CLOUD_SHADOW) | (scl == CLOUD) | (scl == DENSE_CLOUD) | (scl == CIRRUS))

    fine = superresolve(cube, options.model)
    red, nir = fine.band("B04"), fine.band("B08")
    ndvi = (nir - red) / (nir + red)
    means = ndvi.aggregate_spatial(json.loads(parcels.to_json()), reducer="mean")
    job = means.execute_batch(
        out_format="JSON",
        title=f"NDVI of parcels with {options.model}",
        job_options=job_options(options.model, onnxruntime=options.onnxruntime),
    )
    results = job.get_results().download_files(options.output, include_stac_metadata=False)
    for date, rows in sorted(json.loads(results[0].read_text(encoding="utf-8")).items()):
        for name, [mean] in zip(parcels["name"], rows, strict=True):
            print(f"{date[:10]} {name:<12}", "cloudy" if mean is None else f"{mean:.3f}")


if __name__ == "__main__":
    main()
