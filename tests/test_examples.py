"""The examples, as far as no back-end is needed."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

from openeo_superres import job_options
from openeo_superres.udf import unpack_weights

EXAMPLES = Path(__file__).parents[1] / "examples"

# ---- the entry for the APEx catalogue

APEX = EXAMPLES / "apex"
PROVIDER = APEX / "algorithm_catalog" / "PLACEHOLDER_PROVIDER"
SERVICE = PROVIDER / "sentinel2_superresolution"
UDP = SERVICE / "openeo_udp" / "sentinel2_superresolution.json"
RECORD = SERVICE / "records" / "sentinel2_superresolution.json"
SCENARIOS = SERVICE / "benchmark_scenarios" / "sentinel2_superresolution.json"
CORE = "http://www.opengis.net/spec/ogcapi-records-1/1.0/req/record-core"
RAW = "https://raw.githubusercontent.com/ESA-APEx/apex_algorithms/refs/heads/main/"


def load(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def load_module(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    assert committed == generated, f"run {generate.__file__}"


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


def run(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_filled_in_entry_has_no_placeholder_left(tmp_path):
    facts = {name: f'"{name.lower()}"' for name in load(APEX / "publisher.json")}
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
