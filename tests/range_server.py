"""Serve a folder on 127.0.0.1, with ranges, as GDAL needs them: ``python range_server.py FOLDER LOG``.

It is a process of its own, as rasterio may keep Python's lock while it waits for an answer. It prints its
port; every path that is asked for becomes a line of LOG. What begins with "busy" is had at the second asking.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

FOLDER, LOG = (Path(argument) for argument in sys.argv[1:])


class Files(BaseHTTPRequestHandler):
    """Answers for one request."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = FOLDER / unquote(self.path.partition("?")[0]).lstrip("/")
        is_first = self.path not in LOG.read_text().splitlines()
        with LOG.open("a") as log:
            log.write(f"{self.path}\n")
        if path.name.startswith("busy") and is_first:
            self.send_error(503)
        elif not path.is_file():
            self.send_error(404)
        else:
            self.send_content(path.read_bytes())

    def send_content(self, content):
        start, stop = 0, len(content)
        if spans := self.headers.get("Range"):
            first, last = spans.removeprefix("bytes=").split("-")
            start, stop = int(first), min(int(last) + 1, len(content)) if last else len(content)
        self.send_response(206 if spans else 200)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Accept-Ranges", "bytes")
        if spans:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[start:stop])

    def log_message(self, *_):
        """Say nothing."""


if __name__ == "__main__":
    LOG.touch()
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()
