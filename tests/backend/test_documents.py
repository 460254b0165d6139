"""Code blocks of the documentation that need a back-end, run against the one on localhost as they stand.

What differs there: the address and the login, the place and the dates of its collection, and its archives.
"""

from __future__ import annotations

import functools
import json
import shutil
from typing import TYPE_CHECKING

import openeo
import pytest
from documents import PAGES, ROOT, Block, blocks, run

import openeo_superres
from openeo_superres import build_process, bundle

from .conftest import CLEAR, Server, extent, read

if TYPE_CHECKING:
    from pathlib import Path

PLACES = [page for page in PAGES if blocks(page, "run: backend")]


@pytest.fixture
def here(
    server: Server, archive_url: str, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """A folder to work in, and what the pages' addresses stand for."""
    connection = server.connect()
    load, options = openeo_superres.load_sentinel2, openeo_superres.job_options
    monkeypatch.setattr(connection, "authenticate_oidc", lambda: connection)
    monkeypatch.setattr(openeo, "connect", lambda _: connection)
    replaced = {
        "load_sentinel2": lambda connection, *_: load(connection, extent(), CLEAR),
        "job_options": functools.partial(options, onnxruntime=archive_url),
    }
    for name, function in replaced.items():
        monkeypatch.setattr(openeo_superres, name, function, raising=False)
    monkeypatch.setattr(bundle, "_download", lambda folder: folder / shutil.copy(wheel, folder))
    process = build_process(onnxruntime=archive_url)
    (server.public / "sentinel2_superresolution.json").write_text(json.dumps(process))
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    login = f"{server.url} --user test --password test123 --output {tmp_path}"
    return {
        "https://openeo.dataspace.copernicus.eu\n": f"{login} --onnxruntime {archive_url}\n",
        "http://127.0.0.1:PORT": server.url,
        "--onnxruntime URL": f"--onnxruntime {archive_url} --output {tmp_path}",
        "https://.../": server.publish(""),
    }


@pytest.mark.parametrize("page", PLACES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_run(page: Path, here: dict[str, str], tmp_path: Path) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page, "run: backend"):
        text = block.text
        for what, instead in here.items():
            text = text.replace(what, instead)
        run(Block(block.page, block.line, block.language, text, block.mark), names)
        if "area" in names:
            names["area"] = extent()
    if "job" in names:
        [path] = (tmp_path / "result").glob("*.tif")
        assert read(path).sizes["x"] == 120
