"""Start the back-end; its address is the first line on stdout."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

from werkzeug.serving import make_server

SAMPLE = Path(__file__).parents[2] / "examples" / "data"


def main() -> None:
    """Parse the command line and serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m backend", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    parser.add_argument("--data", type=Path, default=SAMPLE, help="folder of the sample scene")
    parser.add_argument("--public", type=Path, help="folder to serve under /public/")
    parser.add_argument("--onnxruntime", type=Path, help="archive of it, for an image that has it")
    parser.add_argument("--executor", choices=["process", "spark"], default="process", help="of batch jobs")
    parser.add_argument("--attached", action="store_true", help="stop when stdin is closed")
    parser.add_argument("--verbose", action="store_true", help="log to stderr")
    options = parser.parse_args()

    logging.basicConfig(level=logging.INFO if options.verbose else logging.CRITICAL)
    os.environ["OPENEO_BACKEND_CONFIG"] = str(Path(__file__).with_name("config.py"))
    # only after the configuration is known
    from .config import PASSWORD  # noqa: PLC0415
    from .server import Backend, application  # noqa: PLC0415

    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    if options.attached:
        threading.Thread(target=_stop_at_end_of_stdin, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="openeo-backend-") as folder:
        backend = Backend(
            data=options.data,
            folder=Path(folder),
            executor=options.executor,
            onnxruntime=options.onnxruntime,
        )
        app = application(backend, options.public)
        server = make_server(options.host, options.port, app, threaded=True)
        print(f"http://{options.host}:{server.server_port}", flush=True)
        if sys.stdout.isatty():
            password = PASSWORD.format(user="test")
            print(
                f'connection = openeo.connect("http://{options.host}:{server.server_port}")\n'
                f'connection.authenticate_basic("test", "{password}")\n'
                "Stop with Ctrl-C."
            )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            backend.executor.close()


def _stop_at_end_of_stdin() -> None:
    """Whoever started this may be killed: then nobody else stops it."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
