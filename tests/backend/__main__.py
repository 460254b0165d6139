"""Start the back-end; its address is the first line on stdout."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.serving import make_server

from .workspace import workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE = Path(__file__).parents[2] / "examples" / "data"
STOP = (signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Parse the command line and serve until told to stop."""
    options = _options()
    _set_up_logging(verbose=options.verbose)
    os.environ["OPENEO_BACKEND_CONFIG"] = str(Path(__file__).with_name("config.py"))
    # only after the configuration is known
    from .chunking import Habits  # noqa: PLC0415
    from .server import Backend, application  # noqa: PLC0415

    for number in STOP:
        signal.signal(number, lambda *_: sys.exit())
    if options.attached:
        threading.Thread(target=_stop_at_end_of_stdin, daemon=True).start()
    with workspace() as folder:
        backend = Backend(
            data=options.data,
            folder=folder,
            executor=options.executor,
            batch=options.batch << 10,
            onnxruntime=options.onnxruntime,
            habits=Habits(pads=not options.short_edges, tells_step=not options.unknown_step),
        )
        try:
            app = application(backend, options.public)
            server = make_server(options.host, options.port, app, threaded=True)
            print("\n".join(_hints(f"http://{options.host}:{server.server_port}", options)), flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            for number in (*STOP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            backend.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m backend", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    parser.add_argument("--data", type=Path, default=SAMPLE, help="folder of the sample scene")
    parser.add_argument("--public", type=Path, help="folder to serve under /public/")
    parser.add_argument("--onnxruntime", type=Path, help="archive of it, for an image that has it")
    parser.add_argument("--executor", choices=["process", "spark"], default="process", help="of batch jobs")
    parser.add_argument("--batch", type=int, default=64 << 10, help="KiB of chunks that Spark gets at once")
    parser.add_argument("--short-edges", action="store_true", help="hand over less at the layer's edges")
    parser.add_argument("--unknown-step", action="store_true", help="tell apply_metadata no pixel size")
    parser.add_argument("--attached", action="store_true", help="stop when stdin is closed")
    parser.add_argument("--verbose", action="store_true", help="log to stderr")
    options = parser.parse_args()
    needed = [options.data / "virginia_10m.tif", options.data / "virginia_20m.tif"]
    needed += [path for path in (options.onnxruntime, options.public) if path]
    if missing := [str(path) for path in needed if not path.exists()]:
        parser.exit(2, f"There is no {', no '.join(missing)}.\n")
    return options


def _set_up_logging(*, verbose: bool) -> None:
    """Errors of the server are always shown, those of users when asked."""
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR)
    if not verbose:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        logging.getLogger("openeo_driver.views").addFilter(_is_of_the_server)


def _is_of_the_server(record: logging.LogRecord) -> bool:
    error: Any = record.exc_info[1] if record.exc_info else None
    return getattr(error, "status_code", 500) >= 500


def _hints(url: str, options: argparse.Namespace) -> Iterator[str]:
    """The address, and how to use it."""
    from .catalog import CLEAR, CLOUDY, sample  # noqa: PLC0415
    from .config import PASSWORD  # noqa: PLC0415

    yield url
    grid = sample(options.data).bands["B02"].grid
    west, north = grid.west + 1000, grid.north - 1000
    box = {"west": west, "south": north - 1000, "east": west + 1000, "north": north, "crs": grid.epsg}
    yield f"""
# Paste into a Python that has openeo_superres:
import openeo
from openeo_superres import job_options, load_sentinel2, superresolve

connection = openeo.connect("{url}")
connection.authenticate_basic("test", "{PASSWORD.format(user="test")}")
box = {box}
cube = load_sentinel2(connection, box, ["{CLEAR}", "2016-08-02"])  # there is a cloudy {CLOUDY}, too
fine = superresolve(cube)"""
    if options.onnxruntime:
        yield 'fine.download("fine.tif")'
    if options.onnxruntime and options.public and (options.public / options.onnxruntime.name).exists():
        archive = f"{url}/public/{options.onnxruntime.name}"
        yield f"""
# or as a batch job:
options = job_options(onnxruntime="{archive}")
job = fine.execute_batch(out_format="GTiff", job_options=options)
job.get_results().download_files("fine")"""
    yield "\n# Stop with Ctrl-C."


def _stop_at_end_of_stdin() -> None:
    """Whoever started this may be killed: then nobody else stops it."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
