"""The benchmarks run, on something tiny, and measure what they say. Nothing here asserts a speed."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rasterio

from openeo_superres import load_card
from openeo_superres.sensor import BAND_NAMES

BENCH = Path(__file__).parent / "bench"
SIZE = 300
NODATA = 0.15


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    """A function that imports a benchmark; it does not bind this process to cores."""
    monkeypatch.syspath_prepend(BENCH)

    def load(name: str) -> ModuleType:
        module = importlib.import_module(name)
        if hasattr(module, "bind"):
            monkeypatch.setattr(module, "bind", lambda _cores: None)
        return module

    return load


@pytest.fixture(scope="module")
def products(tmp_path_factory) -> dict[str, Path]:
    """A small product of either level."""
    folder, found = tmp_path_factory.mktemp("products"), {}
    for level in ("L1C", "L2A"):
        command = [sys.executable, BENCH / "make_product.py", folder, "--size", str(SIZE), "--level", level]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[level] = Path(done.stdout.splitlines()[-1])
    return found


def images(product: Path) -> dict[str, Path]:
    return {re.search(r"_(B\d[\dA])", path.stem)[1]: path for path in product.rglob("*.jp2")}


@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_product_holds_the_sample_and_nodata_beyond_the_swath(products, image, level):
    files, shares = images(products[level]), {}
    for index, band in enumerate(BAND_NAMES):
        with rasterio.open(files[band]) as source:
            step = round(source.transform.a / 10)
            raw = source.read(1)
            assert (source.crs.to_epsg(), source.transform.c, source.transform.f) == (32633, 300000, 6200040)
            assert source.shape == (SIZE // step, SIZE // step)
            assert source.tags(ns="IMAGE_STRUCTURE")["COMPRESSION_REVERSIBILITY"] == "LOSSLESS"
        expected = image[index, :SIZE:step, :SIZE:step] + 1000
        beyond = raw == 0
        shares[band] = beyond.mean()
        assert 0.1 < beyond.mean() < 0.3
        assert np.array_equal(raw[~beyond], expected[~beyond])
        # one edge, from the top right to the bottom
        first = beyond.argmax(axis=1)
        assert (np.diff(first) <= 0).all()
        assert beyond[:, -1].all()
    assert shares["B02"] + 0.01 < shares["B8A"] < shares["B12"] - 0.01


def test_product_is_mirrored_beyond_the_sample(script, image):
    layer = next(layer for layer in script("make_product").layers("L1C") if layer.name == "B8A")
    edge = 1000
    rows = layer.rows(250, 800, edge, 0).astype(float) - 1000
    band = image[BAND_NAMES.index("B8A"), ::2, ::2]
    mosaic = np.pad(band, (0, edge - len(band)), mode="symmetric")
    assert np.array_equal(rows, mosaic[250:800])


@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_product_says_what_it_is(products, level):
    product = products[level]
    root = ET.parse(product / f"MTD_MSI{level}.xml").getroot()
    tag = {"L1C": "RADIO_ADD_OFFSET", "L2A": "BOA_ADD_OFFSET"}[level]
    assert [(node.get("band_id"), node.text) for node in root.iter(tag)] == [
        (str(i), "-1000") for i in range(13)
    ]
    listed = {node.text for node in root.iter("IMAGE_FILE")}
    assert listed == {path.relative_to(product).with_suffix("").as_posix() for path in product.rglob("*.jp2")}
    assert root.find(".//PRODUCT_URI").text == product.name
    (tile,) = product.glob("GRANULE/*/MTD_TL.xml")
    sizes = {node.get("resolution"): node.find("NROWS").text for node in ET.parse(tile).iter("Size")}
    assert sizes == {"10": str(SIZE), "20": str(SIZE // 2), "60": str(SIZE // 6)}


@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_manifest_lists_every_file_with_its_checksum(products, level):
    product = products[level]
    listed = set()
    for stream in ET.parse(product / "manifest.safe").iter("byteStream"):
        path = product / stream.find("fileLocation").get("href")
        content = path.read_bytes()
        assert int(stream.get("size")) == len(content)
        assert stream.find("checksum").text == hashlib.sha3_256(content).hexdigest()
        listed.add(path)
    assert listed == {path for path in product.rglob("*") if path.is_file()} - {product / "manifest.safe"}


def test_public_way_writes_the_tile_that_it_was_asked_for(script, products, tmp_path):
    engine = script("run_engine")
    card = load_card("cubic_mtf")
    files = [images(products["L1C"])[band] for band in card.bands]
    target, (col, row, size) = tmp_path / "tile.tif", (32, 48, 64)
    session = engine.public_session(card.read_weights(), 1)
    times = engine.public_tile(session, files, (col, row), size, target)
    assert len(times) == 4
    assert times == sorted(times)
    with rasterio.open(target) as source:
        tile = source.read(indexes=[1, 2, 3, 4])
        assert source.compression is None
        assert source.profile["tiled"]
    model = card.open("cpu", 1)
    whole = model.run(engine.read_image(files, 160)[None])[0, :4]
    expected = whole[:, 2 * row : 2 * (row + size), 2 * col : 2 * (col + size)]
    inside = (slice(None), slice(40, -40), slice(40, -40))  # its margin is too small near the edges
    assert np.abs(tile[inside] - expected[inside]).max() <= 1


def test_engine_and_public_way_are_timed_and_compared(script, products, tmp_path, monkeypatch, capsys):
    engine = script("run_engine")
    monkeypatch.setattr(engine, "in_child", lambda _, task: engine.work(json.loads(json.dumps(task))))
    monkeypatch.setattr(engine, "make_product", lambda *_, **__: products["L1C"])
    monkeypatch.setattr(engine, "REFERENCE", "cubic_mtf")
    path = tmp_path / "figures" / "engine.json"
    arguments = ["--cores", "1", "--model", "cubic_mtf", "--size", "64", "--tile", "48", "--repeat", "2"]
    monkeypatch.setattr(sys, "argv", ["run_engine.py", *arguments, "--json", str(path)])
    engine.main()
    figures = json.loads(path.read_text(encoding="utf-8"))
    assert {row["way"]: row["pixels"] for row in figures["rows"]} == {"engine": 64**2, "public": 48**2}
    for row in figures["rows"]:
        assert row["rounds"] == 2
        assert 0 < row["rate"] <= row["network"]
    assert figures["machine"]["cores"] >= 1
    assert figures["machine"]["onnxruntime"]
    head, line = capsys.readouterr().out.splitlines()[:2]
    assert head.startswith("model")
    assert line.startswith("cubic_mtf")


def test_slow_calls_get_fewer_rounds(script):
    engine = script("run_engine")
    made = []

    def call(name: str, seconds: float):
        made.append(name)
        return [0.0, 0.0, seconds, seconds]

    calls = {
        (name, "engine"): lambda name=name, s=s: call(name, s) for name, s in (("slow", 60.0), ("fast", 1.0))
    }
    seconds = engine.in_turn(calls, 5, 100)
    assert made == ["slow", "fast", "fast", "fast", "fast", "fast"]
    assert [len(runs) for runs in seconds.values()] == [1, 5]


def test_options_are_compared_with_the_engine(script, tmp_path, monkeypatch, capsys):
    options = script("run_options")
    monkeypatch.setattr(options, "in_child", lambda _, task: options.work(json.loads(json.dumps(task))))
    path = tmp_path / "options.json"
    arguments = [
        "--model",
        "cubic_mtf",
        "--size",
        "32",
        "--sizes",
        "16",
        "--repeat",
        "1",
        "--json",
        str(path),
    ]
    monkeypatch.setattr(sys, "argv", ["run_options.py", *arguments])
    options.main()
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert rows[0]["change"] == "engine"
    assert (rows[0]["ratio"], rows[0]["least"], rows[0]["most"]) == (1, 1, 1)
    assert {row["change"] for row in rows} > {*options.LEVELS, *options.ATTRIBUTES, *options.ENTRIES}
    assert all(row["least"] == row["ratio"] == row["most"] for row in rows)
    assert [row["ratio"] for row in rows] == pytest.approx([row["rate"] / rows[0]["rate"] for row in rows])
    assert len(capsys.readouterr().out.splitlines()) == len(rows) + 2


def test_product_run_finds_every_stage(products, tmp_path):
    source = products["L1C"]
    folder = tmp_path / "products" / str(SIZE)
    folder.mkdir(parents=True)
    (folder / source.name).symlink_to(source, target_is_directory=True)
    path = tmp_path / "product.json"
    command = [sys.executable, BENCH / "run_product.py", folder.parent, "--size", str(SIZE)]
    command += ["--model", "cubic_mtf", "--cores", "1", "--json", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    (row,) = json.loads(path.read_text(encoding="utf-8"))
    assert (row["level"], row["size"], row["model"], row["pixels"]) == ("L1C", SIZE, "cubic_mtf", SIZE**2)
    unused = [stage for stage, part in row["stages"].items() if not part["calls"]]
    assert not unused, f"STAGES in run_product.py names functions that are not called: {unused}"
    assert all(part["wall"] > 0 for part in row["stages"].values())
    assert sum(part["processor"] for part in row["stages"].values()) <= row["processor s"]
    assert row["memory"] > 50
    assert row["written MB"] > 0.5 * row["output MB"]
    assert [file.name for file in folder.parent.iterdir()] == [str(SIZE)]
    assert "--provider cuda" in done.stdout


def test_rows_of_one_kind_are_replaced(script):
    product = script("run_product")
    row = dict.fromkeys(product.KEY, 1)
    rows = product.merged([], {**row, "wall": 1.0})
    rows = product.merged(rows, {**row, "cores": 2, "wall": 2.0})
    rows = product.merged(rows, {**row, "wall": 3.0})
    assert [(each["cores"], each["wall"]) for each in rows] == [(1, 3.0), (2, 2.0)]


def test_stage_does_not_count_what_a_stage_inside_it_takes(script):
    product = script("run_product")
    stages = product.Stages()
    clock = iter([0.0, 1.0, 4.0, 10.0])
    product.time.perf_counter, kept = lambda: next(clock), product.time.perf_counter
    try:
        inner = stages.timed("network", lambda: None)
        stages.timed("read, decode", inner)()
    finally:
        product.time.perf_counter = kept
    assert stages.wall == {"network": 3.0, "read, decode": 7.0}


def test_whole_product_is_in_proportion_to_a_window(script):
    product = script("run_product")
    row = {"level": "L1C", "model": "m", "provider": "cpu", "cores": 1, "size": product.FULL}
    whole, part = {**row, "window": 0, "wall": 300.0}, {**row, "cores": 2, "window": 1098, "wall": 6.0}
    _, body = product.product_table([whole, {**part, "pixels": 1098**2}])
    assert body == [["m", "L1C", "5.0 min", "~8.5 min", "not measured here", "not measured here"]]


def test_document_shows_the_figures_that_are_kept(script):
    report = script("report")
    text = report.DOCUMENT.read_text(encoding="utf-8")
    assert report.filled(text, report.tables()) == text, "Run: python tests/bench/report.py"


def test_document_without_a_mark_is_not_filled(script):
    with pytest.raises(SystemExit, match="0 marks"):
        script("report").filled("nothing", {"engine": "table"})


@pytest.mark.training
def test_chart_is_drawn_from_figures(script, tmp_path):
    pytest.importorskip("matplotlib")
    rows = [
        {"model": name, "way": way, "cores": 1, "rate": rate * 1000}
        for name, way, rate in (
            ("a", "engine", 350),
            ("a", "public", 10),
            ("b", "engine", 7),
            ("b", "public", 6.5),
        )
    ]
    plot, charts = script("plot_speed"), [tmp_path / "a.svg", tmp_path / "b.svg"]
    for chart in charts:
        plot.plot(rows, chart)
    text = charts[0].read_text(encoding="utf-8")
    assert {"350", "6.5"} <= {*re.findall(r"[\d.]+", " ".join(re.findall(r"<text[^>]*>([^<]*)", text)))}
    assert text == charts[1].read_text(encoding="utf-8")
