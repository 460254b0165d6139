"""The examples, as far as no back-end is needed."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from openeo.udf import UdfData, XarrayDataCube, run_udf_code
from pyproj import Transformer

from openeo_superres import job_options
from openeo_superres.udf import unpack_weights

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted({*EXAMPLES.glob("*.py")} - {EXAMPLES / "make_sample.py"})
RUNNABLE = [path for path in SCRIPTS if path.stem not in {"connection", "probe_udf"}]


def name(path: Path) -> str:
    return path.stem


def load(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def load_module(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_example_is_short(script):
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("script", RUNNABLE, ids=name)
def test_example_says_what_it_does(script):
    done = run(script, "--help")
    assert done.returncode == 0, done.stderr
    assert ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))).splitlines()[0] in done.stdout


def test_readme_names_every_example():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        assert path.name == "README.md" or path.name.startswith((".", "__")) or f"`{path.name}" in text


@pytest.mark.parametrize("name", ["areas.geojson", "parcels.geojson", "notebooks/openeo/aoi/village.geojson"])
def test_areas_are_in_the_sample(name):
    to_utm = Transformer.from_crs(4326, 32618, always_xy=True)
    for feature in load(EXAMPLES / name)["features"]:
        assert feature["properties"]["name"]
        for ring in feature["geometry"]["coordinates"]:
            assert ring[0] == ring[-1]
            # counterclockwise, as GeoJSON asks
            assert sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring)) > 0
            x, y = to_utm.transform(*zip(*ring, strict=True))
            assert 435_740 < min(x) < max(x) < 440_860
            assert 4_160_000 < min(y) < max(y) < 4_165_120


# ---- the probe


@pytest.fixture
def probe_udf():
    return load_module(EXAMPLES / "probe_udf.py")


@pytest.mark.parametrize("dims", [("bands", "y", "x"), ("t", "bands", "y", "x")])
def test_probe_tells_versions_through_pixels(probe_udf, dims, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    shape = [{"t": 2, "bands": 10}.get(dim, 4) for dim in dims]
    cube = xr.DataArray(np.full(shape, np.nan, np.float32), dims=dims)
    data = UdfData(datacube_list=[XarrayDataCube(cube)], user_context={})
    code = Path(probe_udf.__file__).read_text(encoding="utf-8")
    [result] = run_udf_code(code, data).get_datacube_list()
    array = result.get_array()
    assert (array.dims, array.shape, array.dtype) == (cube.dims, cube.shape, np.float32)
    pixel = array.isel({dim: 1 for dim in dims if dim != "bands"}).to_numpy().astype(int).tolist()
    found = probe_udf.versions(pixel)
    assert found["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert np.__version__.startswith(found["numpy"])
    assert re.fullmatch(r"1\.\d+\.\d+", found["onnxruntime"])


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("", "missing"),
        ("import onnxruntime.another_python", "not importable"),
        ("raise AttributeError('_ARRAY_API not found')", "not importable"),
        ("__version__ = '1.16.3'", "too old for this numpy"),
        ("__version__ = '1.20.1'", "1.20.1"),
    ],
)
def test_probe_tells_why_an_onnxruntime_is_of_no_use(probe_udf, tmp_path, monkeypatch, module, expected):
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    if module:
        (tmp_path / "onnxruntime.py").write_text(module)
    importlib.invalidate_caches()
    assert probe_udf.versions([0] * 8 + probe_udf.onnxruntime_version())["onnxruntime"] == expected
    sys.modules.pop("onnxruntime", None)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"job": "1.20.1", "job with the archive": "1.20.1"}, "onnxruntime=None"),
        ({"job": "missing", "job with the archive": "1.20.1"}, "onnxruntime='https://a.test/b.zip'"),
        ({"job": "missing", "job with the archive": "too old for this numpy"}, "'openeo-superres bundle'"),
        ({"call": "1.20.1"}, "'openeo-superres bundle'"),
        ({}, "'openeo-superres bundle'"),
    ],
)
def test_probe_says_which_archive_fits(monkeypatch, found, expected):
    monkeypatch.syspath_prepend(EXAMPLES)
    verdict = load_module(EXAMPLES / "probe_backend.py").verdict
    there = {way: {"Python": "3.11.7", "onnxruntime": version} for way, version in found.items()}
    assert expected in verdict(there, "https://a.test/b.zip")


# ---- the notebook

NOTEBOOKS = EXAMPLES / "notebooks" / "openeo"


def test_notebook_keeps_the_conventions():
    listed = (NOTEBOOKS / ".tests").read_text(encoding="utf-8").split()
    assert listed == [path.name for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
    for entry in listed:
        notebook = load(NOTEBOOKS / entry)
        # the folder is named after the kernel
        assert notebook["metadata"]["kernelspec"]["name"] == NOTEBOOKS.name == "openeo"
        assert notebook["cells"][0]["source"][0].startswith("# ")
        for cell in notebook["cells"]:
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None


# ---- the entry for the APEx catalogue

APEX = EXAMPLES / "apex"
PROVIDER = APEX / "algorithm_catalog" / "PLACEHOLDER_PROVIDER"
SERVICE = PROVIDER / "sentinel2_superresolution"
UDP = SERVICE / "openeo_udp" / "sentinel2_superresolution.json"
RECORD = SERVICE / "records" / "sentinel2_superresolution.json"
SCENARIOS = SERVICE / "benchmark_scenarios" / "sentinel2_superresolution.json"
CORE = "http://www.opengis.net/spec/ogcapi-records-1/1.0/req/record-core"
RAW = "https://raw.githubusercontent.com/ESA-APEx/apex_algorithms/refs/heads/main/"


def node(process: dict, process_id: str) -> dict:
    return next(node for node in process["process_graph"].values() if node["process_id"] == process_id)


def pop_weights(process: dict) -> bytes:
    udf = node(node(process, "apply_neighborhood")["arguments"]["process"], "run_udf")
    return unpack_weights(udf["arguments"]["context"].pop("weights"))


def test_committed_process_is_what_its_generator_writes():
    generate = load_module(SERVICE / "openeo_udp" / "generate.py")
    committed, generated = load(UDP), json.loads(json.dumps(generate.generate()))
    assert generate.DESTINATION == UDP
    # compressed by another version of a library they may differ
    assert pop_weights(committed) == pop_weights(generated)
    # a comparison in the assertion would print half a megabyte
    stale = committed != generated
    assert not stale, f"UDF or model changed: python {Path(generate.__file__).relative_to(EXAMPLES.parent)}"


def test_process_keeps_the_rules():
    process = load(UDP)
    assert process["id"] == UDP.stem == SERVICE.name
    assert process["description"]
    assert process["process_graph"]
    for parameter in process["parameters"]:
        assert parameter["name"]
        assert parameter["description"]
        assert parameter["schema"]["type"]
    # what a back-end may store of a user-defined process
    assert UDP.stat().st_size < 1_048_575


def test_record_keeps_the_rules():
    record = load(RECORD)
    assert record["id"] == RECORD.stem
    assert record["type"] == "Feature"
    assert record["conformsTo"] == [CORE, "https://apex.esa.int/core/openeo-udp"]
    assert record["geometry"] is None
    properties = record["properties"]
    assert properties["type"] == "service"
    assert all(properties[key] for key in ("created", "updated", "title", "description", "contacts"))
    assert all(theme["concepts"] and theme["scheme"] for theme in properties["themes"])
    assert {"name": "GeoTIFF"} in properties["formats"]
    links = {link["rel"]: link["href"] for link in record["links"]}
    assert {"service", "application", "provider", "platform"} <= set(links)
    assert links["application"] == RAW + str(UDP.relative_to(APEX))
    assert (RECORD.parent / links["provider"]).resolve() == PROVIDER / "record.json"
    assert all(link["type"] and link["title"] for link in record["links"])


def test_provider_keeps_the_rules():
    provider = load(PROVIDER / "record.json")
    assert provider["id"] == PROVIDER.name
    assert provider["type"] == "Feature"
    assert provider["conformsTo"] == [CORE]
    keys = {"created", "updated", "type", "title", "description", "contacts", "themes", "acl"}
    assert keys <= set(provider["properties"])
    assert {"logo-light", "logo-dark"} <= {link["rel"] for link in provider["links"]}


def test_benchmark_scenarios_keep_the_rules():
    for scenario in load(SCENARIOS):
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", scenario["id"])
        assert scenario["type"] == "openeo"
        assert scenario["backend"] in {
            "openeo.dataspace.copernicus.eu",
            "openeofed.dataspace.copernicus.eu",
        }
        call = node(scenario, load(UDP)["id"])
        assert call["namespace"] == RAW + str(UDP.relative_to(APEX))
        assert set(call["arguments"]) == {parameter["name"] for parameter in load(UDP)["parameters"]}
        assert sum(node.get("result", False) for node in scenario["process_graph"].values()) == 1
        assert scenario["job_options"] == load(UDP)["default_job_options"] == job_options("edsr_4x32")
        assert set(scenario["reference_options"]) == {"rtol", "atol", "pixel_tolerance"}
        assert isinstance(scenario["reference_data"], dict)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.*") if path.suffix in {".json", ".md", ".py"}]


def placeholders(folder: Path) -> set[str]:
    texts = [str(path.relative_to(folder)) + path.read_text(encoding="utf-8") for path in files(folder)]
    return set(re.findall(r"PLACEHOLDER_[A-Z_]+", "".join(texts)))


def test_placeholders_are_told_in_one_place():
    assert placeholders(APEX / "algorithm_catalog") == set(load(APEX / "publisher.json"))
    rows = re.findall(r"`(PLACEHOLDER_[A-Z_]+)`", (APEX / "README.md").read_text(encoding="utf-8"))
    assert set(rows) == {
        "PLACEHOLDER_PROVIDER",
        "PLACEHOLDER_NAME",
        "PLACEHOLDER_WEBSITE",
        "PLACEHOLDER_DOMAIN",
        "PLACEHOLDER_LOGO_LIGHT",
        "PLACEHOLDER_LOGO_DARK",
        "PLACEHOLDER_REPOSITORY",
        "PLACEHOLDER_REFERENCE",
        "PLACEHOLDER_DATE",
    }


def test_filled_in_entry_has_no_placeholder_left(tmp_path):
    facts = {key: f'"{key.lower()}"' for key in load(APEX / "publisher.json")}
    facts["PLACEHOLDER_PROVIDER"] = "somebody"
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    done = run(APEX / "fill.py", tmp_path / "checkout", "--publisher", tmp_path / "facts.json")
    assert done.returncode == 0, done.stderr
    assert placeholders(tmp_path / "checkout") == set()
    folder = tmp_path / "checkout" / "algorithm_catalog" / "somebody"
    assert len(files(folder)) == len(files(PROVIDER))
    assert load(folder / "record.json")["properties"]["title"] == '"placeholder_name"'
    assert "/somebody/" in load(folder / RECORD.relative_to(PROVIDER))["links"][0]["href"]


def test_unfilled_entry_is_not_copied(tmp_path):
    done = run(APEX / "fill.py", tmp_path / "checkout")
    assert done.returncode != 0
    assert "PLACEHOLDER_WEBSITE" in done.stderr
    assert not (tmp_path / "checkout").exists()
