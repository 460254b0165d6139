"""The documentation's code blocks: each is run, or is said not to be, and why."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import runpy
import shutil
import sys

import numpy as np
import onnx
import pytest
import rasterio
import xarray as xr
from documents import PAGES, ROOT, RUN, SHOWN, SMALL, blocks, run, write_sample
from onnx import TensorProto, helper
from products import write_safe
from theia_files import write_theia

from openeo_superres.cli import main
from openeo_superres.sensor import BAND_NAMES

ELSEWHERE = {
    # on a cluster whose workers die, and with the pixels looked at
    "docs/cluster.md": "test_cluster.py",
}
EVERY = [block for page in PAGES for block in blocks(page)]
RUNNABLE = [page for page in PAGES if blocks(page, "") and str(page.relative_to(ROOT)) not in ELSEWHERE]


def name(page):
    return str(page.relative_to(ROOT))


def test_every_block_says_what_it_is():
    assert len(EVERY) > 30
    for block in EVERY:
        assert block.language in RUN | SHOWN, (
            f"{block.place}: a block of no language, or one that is not known"
        )
        assert re.fullmatch(r"|run: backend|not run: \S.{10,}", block.mark) or block.language in SHOWN, (
            block.place
        )


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_code_hides_in_an_indented_block(page):
    """Which no test would run."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    paragraphs = re.split(r"\n\s*\n", text)
    within = False
    for paragraph in paragraphs:
        within = bool(re.match(r"\s{0,3}(\d+\.|[-*]) |!!! |\?\?\? |=== ", paragraph)) or (
            within and paragraph.startswith("    ")
        )
        assert within or not paragraph.startswith("    "), paragraph


def write_others(folder, _image):
    """A network of somebody else, as its makers describe it."""
    stem = folder / "carn_3x3x64g4sw_bootstrap"
    count = len(BAND_NAMES)
    ends = [
        helper.make_tensor_value_info(end, TensorProto.FLOAT, ["n", count, f"{end}_y", f"{end}_x"])
        for end in ("input", "output")
    ]
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1.0, 1.0, 2.0, 2.0])
    node = helper.make_node("Resize", ["input", "", "scales"], ["output"], mode="linear")
    graph = helper.make_graph([node], "others", ends[:1], ends[1:], [scales])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, f"{stem}.onnx")
    listed = [band if band == "B8A" else f"B{int(band[1:])}" for band in BAND_NAMES]
    facts = {"model": f"{stem.name}.onnx", "bands": listed, "margin": 32, "factor": 2}
    stem.with_suffix(".yaml").write_text(json.dumps(facts))


def write_cube(folder, image):
    """Two dates as openEO back-ends write them."""
    size = 64
    part = image[:, :size, :size]
    coords = {
        "t": np.array(["2026-06-01", "2026-06-11"], "datetime64[ns]"),
        "y": 4_165_120 - 5 - 10.0 * np.arange(size),
        "x": 435_740 + 5 + 10.0 * np.arange(size),
    }
    bands = {
        band: (("t", "y", "x"), np.stack([pixels, pixels]))
        for band, pixels in zip(BAND_NAMES, part, strict=True)
    }
    dataset = xr.Dataset(bands, coords)
    dataset["crs"] = ((), 0, {"crs_wkt": rasterio.crs.CRS.from_epsg(32618).to_wkt()})
    for band in BAND_NAMES:
        dataset[band].attrs["grid_mapping"] = "crs"
    dataset.to_netcdf(folder / "cube.nc", engine="h5netcdf")


def write_safe_product(folder, _image):
    write_safe(folder, level="L2A").rename(folder / "product.SAFE")


def write_theia_zip(folder, _image):
    write_theia(folder, zipped=True).rename(folder / "theia.zip")


def write_area(folder, _image):
    ring = [[-75.716, 37.606], [-75.706, 37.606], [-75.706, 37.612], [-75.716, 37.606]]
    (folder / "area.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))


def write_scenes(folder, _image):
    for scene in ("first", "second"):
        write_sample(folder / "scenes" / scene, 48)


def copy_models(folder, _image):
    shutil.copytree(ROOT / "models", folder / "models", ignore=shutil.ignore_patterns("checkpoints"))


PREPARED = {
    "product.SAFE": write_safe_product,
    "theia.zip": write_theia_zip,
    "area.geojson": write_area,
    "cube.nc": write_cube,
    " scenes ": write_scenes,
    "_bootstrap.yaml": write_others,
    "cd models": copy_models,
}
"""What a page's blocks name -> what its readers are said to have."""
LARGE = (" demo", "--simulate")
"""What wants the whole sample."""


@pytest.fixture
def checkout(tmp_path, image, monkeypatch):
    """Make a folder like the repository, for a page."""

    def make(page):
        texts = "".join(block.text for block in blocks(page, ""))
        write_sample(tmp_path / "examples/data", 512 if any(what in texts for what in LARGE) else SMALL)
        for there in ("Makefile", "pyproject.toml", ".venv"):
            (tmp_path / there).symlink_to(ROOT / there)
        for what, write in PREPARED.items():
            if what in texts:
                write(tmp_path, image)
        monkeypatch.delenv("SUPERRES_DATA", raising=False)
        monkeypatch.chdir(tmp_path)

    return make


@pytest.mark.parametrize("page", RUNNABLE, ids=name)
def test_the_blocks_run(page, checkout, cube):
    checkout(page)
    names = {"cube": cube[:, :64, :64], "__name__": "__main__"}
    for block in blocks(page, ""):
        run(block, names)


# ---- those that are not run


NOT_RUN = [block for block in EVERY if block.mark.startswith("not run") and block.language == "bash"]


class Parsed(Exception):  # noqa: N818
    """The arguments are as the command wants them."""


def parse(arguments, monkeypatch):
    """Let a script of Python read its arguments, and no more."""
    real = argparse.ArgumentParser.parse_args

    def stop(self, *given, **options):
        real(self, *given, **options)
        raise Parsed

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        if arguments[0] == "-m":
            patch.setattr(sys, "argv", arguments[1:])
            module = importlib.import_module(arguments[1])
            with pytest.raises(Parsed):
                module.main()
        elif "argparse" in (ROOT / arguments[0]).read_text(encoding="utf-8"):
            patch.setattr(sys, "argv", arguments)
            patch.syspath_prepend(str((ROOT / arguments[0]).parent))
            with pytest.raises(Parsed):
                runpy.run_path(str(ROOT / arguments[0]), run_name="__main__")
        else:
            # one without options would run
            assert len(arguments) == 1


@pytest.mark.training
@pytest.mark.parametrize("block", NOT_RUN, ids=lambda block: block.place)
def test_commands_that_are_not_run_exist(block, monkeypatch):
    pytest.importorskip("torch", reason="needs the train extra")
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    monkeypatch.setenv("SUPERRES_DATA", "data")
    for command in block.commands:
        program = command[0].rpartition("/")[2]
        if program == "python" and command[1:2] != ["-c"]:
            parse(command[1:], monkeypatch)
        elif program == "make":
            wanted = [word for word in command[1:] if "=" not in word]
            assert {*wanted} <= {*targets}, block.place
        elif program == "openeo-superres":
            assert command[1] in main.commands, block.place
            known = {option for p in main.commands[command[1]].params for option in p.opts}
            assert {word for word in command[2:] if word.startswith("-")} <= known, block.place
