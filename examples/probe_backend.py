"""Find out whether a back-end can run the super-resolution, and with which archive of onnxruntime.

Lists the UDF runtimes, then has a User Defined Function tell what is there: in a call and in two batch jobs.
"""

from __future__ import annotations

import openeo
import probe_udf
import rasterio
from connection import AREA, SUMMER, command_line, connect

from openeo_superres import job_options, load_sentinel2
from openeo_superres.bundle import ONNXRUNTIME_VERSION, PUBLIC_ONNXRUNTIME


def verdict(found: dict[str, dict[str, str]], url: str) -> str:
    """Say what to give as ``onnxruntime`` to ``job_options``."""
    for way, archive in (("job", None), ("job with the archive", url)):
        if "." in found.get(way, {}).get("onnxruntime", ""):
            return f"A batch {way} can run it: onnxruntime={archive!r}"
    return (
        "No onnxruntime that fits was found: an archive must suit Python, numpy and glibc above. For 3.11 "
        f"'openeo-superres bundle' makes one (onnxruntime {ONNXRUNTIME_VERSION}); for others give it a wheel."
    )


def main() -> None:
    """Ask three ways, then say what fits."""
    parser = command_line(__doc__)
    parser.add_argument("--onnxruntime", default=PUBLIC_ONNXRUNTIME, help="URL of the archive to try")
    options = parser.parse_args()
    connection = connect(options)
    for name, runtime in connection.list_udf_runtimes().items():
        for version, facts in runtime.get("versions", {}).items():
            there = [f"{key} {about.get('version', '?')}" for key, about in facts["libraries"].items()]
            print(f"Runtime {name} {version}: {', '.join(there) or 'libraries are not listed'}")

    area = {**AREA, "east": AREA["west"] + 320, "north": AREA["south"] + 320}
    size = [{"dimension": dimension, "value": 16, "unit": "px"} for dimension in ("x", "y")]
    udf = openeo.UDF.from_file(probe_udf.__file__, runtime="Python")
    cube = load_sentinel2(connection, area, SUMMER).max_time().apply_neighborhood(udf, size, overlap=size)
    path, found = options.output / "probe.tif", {}
    path.parent.mkdir(parents=True, exist_ok=True)
    for way, archive in {"call": None, "job": None, "job with the archive": options.onnxruntime}.items():
        try:
            if way == "call":  # synchronous: knows no archives
                cube.download(path)
            else:
                cube.execute_batch(path, job_options=job_options(onnxruntime=archive))
            with rasterio.open(path) as source:
                found[way] = probe_udf.versions(source.read()[:, 9, 9].astype(int).tolist())
            print(f"{way}: {', '.join(f'{name} {version}' for name, version in found[way].items())}")
        except openeo.BaseOpenEoException as error:
            print(f"{way}: not found out. {str(error).splitlines()[0]}")
    print(verdict(found, options.onnxruntime))


if __name__ == "__main__":
    main()
