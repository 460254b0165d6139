"""The openEO client side: graphs as a back-end gets them, and what is refused before anything is sent."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import openeo
import pytest
import xarray as xr
from conftest import is_slow
from openeo.rest._testing import DummyBackend
from openeo.rest.connection import Connection

import openeo_superres
from openeo_superres import (
    ModelCard,
    SuperresError,
    build_process,
    job_options,
    list_models,
    load_card,
    load_sentinel2,
    save_options,
    superresolve,
    udf,
)
from openeo_superres.bundle import PUBLIC_ONNXRUNTIME, REQUEST_LIMIT
from openeo_superres.card import DEFAULT_MODEL
from openeo_superres.sensor import BAND_NAMES

GOLDEN = Path(__file__).parent / "golden"
EXTENT = {"west": 5.0, "south": 51.2, "east": 5.1, "north": 51.3}
PERIOD = ("2024-06-01", "2024-07-01")
ARCHIVE = "https://example.com/cubic_mtf.zip"


@pytest.fixture
def backend(requests_mock) -> DummyBackend:
    """openeo's own stand-in for a back-end: nothing leaves the process."""
    dummy = DummyBackend.at_url("https://openeo.test/", requests_mock=requests_mock)
    dummy.setup_collection("SENTINEL2_L2A", bands=[*BAND_NAMES, "SCL"])
    dummy.setup_collection("SENTINEL2_L1C", bands=["B01", *BAND_NAMES])
    dummy.setup_collection("LANDSAT8", bands=["B02", "B03"])
    dummy.setup_file_format("GTiff")
    return dummy


@pytest.fixture
def connection(backend) -> Connection:
    return backend.connection


@pytest.fixture
def cube(connection) -> openeo.DataCube:
    return load_sentinel2(connection, EXTENT, PERIOD)


def node(graph: dict, process_id: str) -> dict:
    (found,) = (one["arguments"] for one in graph.values() if one["process_id"] == process_id)
    return found


def run_udf(graph: dict) -> dict:
    return node(node(graph, "apply_neighborhood")["process"]["process_graph"], "run_udf")


def redacted(graph: dict) -> dict:
    """A graph without what changes with the UDF's text and the weights, once that has been checked."""
    graph = copy.deepcopy(graph)
    arguments = run_udf(graph)
    assert arguments["udf"] == Path(udf.__file__).read_text(encoding="utf-8")
    arguments["udf"] = "<udf.py>"
    context = arguments["context"]
    if "weights" in context:
        content = udf.unpack_weights(context["weights"])
        assert hashlib.sha256(content).hexdigest() == context["sha256"]
        context["weights"] = "<weights>"
    assert context["sha256"] in {load_card(name).sha256 for name in list_models()}
    context["sha256"] = "<sha256>"
    return graph


def golden(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


# ---- graphs


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("grid", {}),
        ("upscale", {"mode": "upscale", "size": 255, "overlap": 27}),
        ("archive", {"weights": ARCHIVE, "offset": -1000, "provider": "cuda", "threads": 2}),
    ],
)
def test_graph_of_superresolve(cube, name, options):
    fine = superresolve(cube, "cubic_mtf", **options)
    assert redacted(fine.flat_graph()) == golden(name)


def test_graph_in_the_middle_of_another(connection):
    """After cloud masking, before an index; the cloud mask's band does not go to the network."""
    cube = load_sentinel2(connection, EXTENT, PERIOD, extra_bands=["SCL"])
    masked = cube.mask(cube.band("SCL") == 9)
    fine = superresolve(masked, "cubic_mtf")
    result = fine.ndvi(nir="B08", red="B04").save_result("GTiff", options=save_options("cubic_mtf"))
    assert redacted(result.flat_graph()) == golden("middle")


@pytest.mark.parametrize("name", list_models())
def test_process_definition(name):
    weights = ARCHIVE if is_slow(name) else "auto"
    process = build_process(name, weights=weights)
    graph = redacted(process.pop("process_graph"))
    context = run_udf(graph)["context"]
    card = load_card(name)
    assert (context["margin"], context["scale"]) == (card.margin, card.scale)
    assert json.loads(json.dumps(process)) == process
    assert process["id"] == f"sentinel2_superresolution_{name}"
    assert [one["name"] for one in process["parameters"]] == [
        "spatial_extent",
        "temporal_extent",
        "max_cloud_cover",
    ]
    assert all(one["description"] and one["schema"]["type"] for one in process["parameters"])
    assert [bool(one.get("optional")) for one in process["parameters"]] == [False, False, True]
    assert process["default_job_options"] == job_options(name, weights=weights)
    assert process["returns"]["schema"] == {"type": "object", "subtype": "datacube"}
    if name == "cubic_mtf":
        assert graph == golden("process")


@pytest.mark.parametrize("name", [name for name in list_models() if is_slow(name)])
def test_weights_too_large_for_a_request_ask_for_an_archive(cube, name):
    with pytest.raises(SuperresError, match=rf"Model {name} takes .* MiB of a request"):
        superresolve(cube, name)
    context = run_udf(superresolve(cube, name, weights=ARCHIVE).flat_graph())["context"]
    assert context["model"] == f"superres_models/{name}.onnx"


def test_request_of_the_default_fits(backend, cube):
    job = superresolve(cube).create_job(job_options=job_options())
    request = backend.batch_jobs_full[job.job_id]
    assert len(json.dumps(request)) < REQUEST_LIMIT / 4
    assert request["job_options"]["udf-dependency-archives"] == [PUBLIC_ONNXRUNTIME]


def test_context_is_one_that_the_udf_takes(cube):
    context = run_udf(superresolve(cube).flat_graph())["context"]
    parsed = udf.Context.parse(json.loads(json.dumps(context)))
    model = parsed.open()
    card = load_card(openeo_superres.DEFAULT_MODEL)
    assert (model.name, model.margin, parsed.overlap) == (card.name, card.margin, card.margin)


def test_every_model_by_name_path_or_card(cube, nearest_card):
    by_path = superresolve(cube, nearest_card.path.with_suffix(".json"))
    by_card = superresolve(cube, nearest_card)
    assert by_path.flat_graph() == by_card.flat_graph()


def test_cube_without_dates_is_not_cut_into_dates(cube):
    fine = superresolve(cube.reduce_dimension("t", "median"), "cubic_mtf")
    size = node(fine.flat_graph(), "apply_neighborhood")["size"]
    assert [entry["dimension"] for entry in size] == ["x", "y"]


def test_cube_of_unknown_bands_is_filtered_by_name(connection):
    cube = connection.datacube_from_process("composite")
    cube.metadata = None
    graph = superresolve(cube, "cubic_mtf").flat_graph()
    assert node(graph, "filter_bands")["bands"] == list(BAND_NAMES)
    assert {"dimension": "t", "value": "P1D"} in node(graph, "apply_neighborhood")["size"]


def test_bands_in_another_order_stay_so(connection):
    bands = [*reversed(BAND_NAMES)]
    cube = connection.load_collection("SENTINEL2_L2A", EXTENT, PERIOD, bands)
    graph = superresolve(cube, "cubic_mtf").flat_graph()
    assert "filter_bands" not in {one["process_id"] for one in graph.values()}
    extra = connection.load_collection("SENTINEL2_L1C", EXTENT, PERIOD, ["B01", *bands])
    assert node(superresolve(extra, "cubic_mtf").flat_graph(), "filter_bands")["bands"] == bands


@pytest.mark.parametrize("collection", ["SENTINEL2_L2A", "SENTINEL2_L1C"])
def test_load_sentinel2(connection, collection):
    cube = load_sentinel2(connection, EXTENT, PERIOD, collection_id=collection, max_cloud_cover=0)
    arguments = node(cube.flat_graph(), "load_collection")
    assert arguments["bands"] == list(BAND_NAMES) == cube.metadata.band_names
    (condition,) = arguments["properties"]["eo:cloud_cover"]["process_graph"].values()
    assert (condition["process_id"], condition["arguments"]["y"]) == ("lte", 0)
    assert "properties" not in node(
        load_sentinel2(connection, EXTENT, PERIOD).flat_graph(), "load_collection"
    )


# ---- options


def test_job_options_of_inline_weights():
    assert job_options("cubic_mtf")["udf-dependency-archives"] == [PUBLIC_ONNXRUNTIME]
    assert "udf-dependency-archives" not in job_options("cubic_mtf", onnxruntime=None)


def test_job_options_name_the_folder_that_the_graph_reads(cube):
    for url, folder in (
        (ARCHIVE, "superres_models"),
        (f"{ARCHIVE}#", "superres_models"),
        (f"{ARCHIVE}#mine", "mine"),
    ):
        context = run_udf(superresolve(cube, "cubic_mtf", weights=url).flat_graph())["context"]
        assert context["model"] == f"{folder}/cubic_mtf.onnx"
        archives = job_options("cubic_mtf", weights=url, onnxruntime="https://example.com/ort.zip")
        assert archives["udf-dependency-archives"] == [
            "https://example.com/ort.zip#onnx_deps",
            f"{ARCHIVE}#{folder}",
        ]


def test_job_options_can_be_overridden():
    options = job_options("cubic_mtf", python_memory="9g", max_executors=4, **{"executor-memory": None})
    assert (options["python-memory"], options["max-executors"]) == ("9g", 4)
    assert "executor-memory" not in options
    # some names have underscores
    assert job_options("cubic_mtf", node_caching=True)["node_caching"] is True


def test_job_options_keep_what_is_needed():
    options = job_options("cubic_mtf", udf_dependency_archives=["https://example.com/mine.zip#mine"])
    assert options["udf-dependency-archives"] == [PUBLIC_ONNXRUNTIME, "https://example.com/mine.zip#mine"]
    with pytest.raises(SuperresError, match="looks for onnxruntime in the folder 'onnx_deps'"):
        job_options("cubic_mtf", onnxruntime="https://example.com/ort.zip#other")
    with pytest.raises(SuperresError, match=r"archive .* as onnxruntime, got 'none'"):
        job_options("cubic_mtf", onnxruntime="none")


def test_memory_follows_the_size_and_the_model():
    """Two workers, whose virtual memory was measured in the UDF: 636, 918 and 1623 MiB at the first sizes."""
    memory = [int(job_options(size=size)["python-memory"][:-1]) for size in (256, 512, 768, 1024)]
    assert memory == [2, 2, 4, 5]
    assert build_process(size=768)["default_job_options"]["python-memory"] == "4g"
    larger = dataclasses.replace(load_card(DEFAULT_MODEL), memory=16_000)
    unknown = dataclasses.replace(load_card(DEFAULT_MODEL), memory=None)
    assert job_options(larger)["python-memory"] == job_options(unknown)["python-memory"] == "12g"


def test_save_options_carry_the_tags_of_local_files(tmp_path):
    """The same names and values as a file of :func:`superresolve_scene` of the same model."""
    rasterio = pytest.importorskip("rasterio")
    card = load_card("cubic_mtf")
    written = openeo_superres.superresolve_scene(
        Path(__file__).parents[1] / "examples/data", tmp_path / "out.tif", card, window=(0, 0, 40, 40)
    )
    options = save_options(card)
    with rasterio.open(written) as dataset:
        assert list(options["bands_metadata"]) == list(dataset.descriptions)
        for index, band in enumerate(dataset.descriptions):
            tags = options["bands_metadata"][band]
            assert (tags["SCALE"], tags["OFFSET"]) == (dataset.scales[index], dataset.offsets[index])
        tags = dataset.tags()
    assert options["file_metadata"] == {name: tags[name] for name in options["file_metadata"]}
    assert options["file_metadata"]["MODEL"] == card.name


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 25}, "overlap of 25 is below the margin of cubic_mtf, 26"),
        ({"overlap": 0}, "below the margin"),
        ({"size": 25}, "size of 25 is below the overlap of 26"),
        ({"size": 100, "overlap": 101}, "size of 100 is below the overlap of 101"),
        ({"size": 512.0}, "whole number as size"),
        ({"overlap": "26"}, "whole number as overlap"),
        ({"mode": "2x"}, "Unknown mode '2x': use 'grid' or 'upscale'"),
        ({"provider": "tpu"}, "Unknown provider 'tpu'"),
        ({"threads": 0}, "threads 0"),
        ({"size": True}, "whole number as size, got True"),
        ({"size": 2049}, "does not fit a back-end's workers"),
        ({"offset": "-1000"}, "finite number as offset, got '-1000'"),
        ({"offset": float("nan")}, "finite number as offset, got nan"),
        ({"mode": ["grid"]}, "Unknown mode"),
        ({"weights": "weights.onnx"}, "URL of an archive .* as weights .'auto' and 'inline' are known"),
        ({"weights": Path("weights.zip")}, "URL of an archive"),
        ({"weights": None}, "URL of an archive"),
        ({"weights": "https://example.com"}, "URL of an archive"),
        ({"weights": "https://example.com/my model.zip"}, "URL of an archive"),
        ({"weights": "https://example.com/m.zip#../up"}, "name of a folder after #"),
        ({"weights": "https://example.com/m.zip#/abs"}, "name of a folder after #"),
        ({"weights": "https://example.com/m.zip#onnx_deps"}, "is for onnxruntime"),
        ({"model": "cubic"}, "Unknown model 'cubic'"),
    ],
)
def test_wrong_use_is_refused(cube, options, message):
    with pytest.raises(SuperresError, match=message):
        superresolve(cube, **{"model": "cubic_mtf", **options})


def test_cube_that_lacks_a_band_is_refused(connection):
    cube = connection.load_collection("LANDSAT8", EXTENT, PERIOD)
    with pytest.raises(SuperresError, match=r"the cube has B02, B03\. Load B04, .*B12, too"):
        superresolve(cube)


@pytest.mark.parametrize("method", ["bilinear", "cubic", "average"])
def test_smooth_resampling_is_refused(cube, method):
    with pytest.raises(SuperresError, match=f"resampled with method '{method}'.*Use method 'near'"):
        superresolve(cube.resample_spatial(resolution=10, method=method).filter_temporal(*PERIOD))
    target = cube.resample_spatial(resolution=10)
    with pytest.raises(SuperresError, match=f"method '{method}'"):
        superresolve(cube.resample_cube_spatial(target, method=method))


def test_smooth_resampling_of_a_part_is_refused(connection):
    fine = connection.load_collection("SENTINEL2_L2A", EXTENT, PERIOD, BAND_NAMES[:4])
    coarse = connection.load_collection("SENTINEL2_L2A", EXTENT, PERIOD, BAND_NAMES[4:])
    superresolve(fine.merge_cubes(coarse.resample_spatial(resolution=10)), "cubic_mtf")
    with pytest.raises(SuperresError, match="resampled with method 'bilinear'"):
        superresolve(fine.merge_cubes(coarse.resample_spatial(resolution=10, method="bilinear")))
    with pytest.raises(SuperresError, match="resampled with method 'average'"):
        superresolve(fine.merge_cubes(coarse).process("aggregate_spatial_window", data=coarse))


def test_elevation_beside_the_bands_may_be_smooth(backend, cube):
    backend.setup_collection("COPERNICUS_30", bands=["DEM"])
    elevation = backend.connection.load_collection("COPERNICUS_30", EXTENT, bands=["DEM"])
    merged = cube.merge_cubes(elevation.resample_cube_spatial(cube, method="bilinear"))
    graph = superresolve(merged, "cubic_mtf").flat_graph()
    assert node(graph, "filter_bands")["bands"] == list(BAND_NAMES)


@pytest.mark.parametrize("projection", [4326, 3035, "EPSG:3857"])
def test_reprojection_is_refused(cube, projection):
    with pytest.raises(SuperresError, match="Reproject after superresolve"):
        superresolve(cube.resample_spatial(resolution=10, projection=projection))
    superresolve(cube.resample_spatial(resolution=10, projection=32631), "cubic_mtf")


@pytest.mark.parametrize("resolution", [5, 20, [10, 20]])
def test_cube_of_other_resolution_is_refused(cube, resolution):
    with pytest.raises(SuperresError, match="expected the 10 m grid"):
        superresolve(cube.resample_spatial(resolution=resolution))
    with pytest.raises(SuperresError, match="expected the 10 m grid"):
        superresolve(cube.resample_spatial(resolution=resolution).resample_spatial(resolution=10))
    with pytest.raises(SuperresError, match="expected the 10 m grid"):
        superresolve(cube.resample_cube_spatial(cube.resample_spatial(resolution=resolution)))


@pytest.mark.parametrize("mode", ["grid", "upscale"])
def test_super_resolving_twice_is_refused(cube, mode):
    fine = superresolve(cube, "cubic_mtf", mode=mode)
    for again in (fine, fine.resample_spatial(resolution=10), cube.merge_cubes(fine)):
        with pytest.raises(SuperresError, match="super-resolved already"):
            superresolve(again, "cubic_mtf", mode=mode)


def test_what_is_no_cube_of_a_back_end_is_refused(cube, image):
    with pytest.raises(SuperresError, match=r"got DataArray.*superresolve_local"):
        superresolve(xr.DataArray(image))
    with pytest.raises(SuperresError, match="got SaveResult"):
        superresolve(cube.save_result("GTiff"))
    with pytest.raises(SuperresError, match="no bands, only dimensions"):
        superresolve(cube.ndvi(nir="B08", red="B04"))


def test_numbers_may_be_numpys(cube):
    numbers = {
        "size": np.int64(256),
        "overlap": np.int32(30),
        "offset": np.float32(-1000),
        "threads": np.int8(2),
    }
    fine = superresolve(cube, "cubic_mtf", **numbers)
    context = json.loads(fine.to_json())["process_graph"]
    assert {key: run_udf(context)["context"][key] for key in numbers} == {
        "size": 256,
        "overlap": 30,
        "offset": -1000,
        "threads": 2,
    }


def test_smallest_size_is_the_overlap(cube):
    graph = superresolve(cube, "cubic_mtf", size=26).flat_graph()
    assert node(graph, "apply_neighborhood")["size"][0]["value"] == 52


def test_dates_go_by_the_name_of_their_dimension(cube):
    renamed = superresolve(cube.rename_dimension("t", "time"), "cubic_mtf")
    assert node(renamed.flat_graph(), "apply_neighborhood")["size"][2] == {
        "dimension": "time",
        "value": "P1D",
    }


def test_process_takes_the_settings_of_superresolve():
    process = build_process(
        "cubic_mtf", onnxruntime="https://example.com/ort.zip", mode="upscale", size=100, offset=-1000
    )
    context = run_udf(process["process_graph"])["context"]
    assert (context["mode"], context["size"], context["offset"]) == ("upscale", 100, -1000)
    archives = process["default_job_options"]["udf-dependency-archives"]
    assert archives == ["https://example.com/ort.zip#onnx_deps"]
    with pytest.raises(SuperresError, match=r"process id .* got 'a b/c'"):
        build_process("cubic_mtf", process_id="a b/c")


def large_card(card: ModelCard, folder: Path, size: int) -> ModelCard:
    """A card of weights that do not compress."""
    content = np.random.default_rng(1).bytes(size)
    path = folder / "large.onnx"
    path.write_bytes(content)
    return dataclasses.replace(
        card, name="large", path=path, sha256=hashlib.sha256(content).hexdigest(), parameters=size
    )


def test_large_weights_travel_by_archive(cube, mtf_card, tmp_path):
    card = large_card(mtf_card, tmp_path, 1 << 20)
    for call in (superresolve, lambda _, card: job_options(card)):
        with pytest.raises(SuperresError, match="openeo-superres bundle"):
            call(cube, card)
    context = run_udf(superresolve(cube, card, weights=ARCHIVE).flat_graph())["context"]
    assert context["model"] == "superres_models/large.onnx"
    assert "weights" not in context


def test_request_that_is_too_large_is_refused(cube, mtf_card, tmp_path):
    with pytest.raises(SuperresError, match=r"2\.\d+ MiB.*at most 2 MiB.*openeo-superres bundle"):
        superresolve(cube, large_card(mtf_card, tmp_path, 3 << 19), weights="inline")
    card = large_card(mtf_card, tmp_path, 1 << 20)
    superresolve(cube, card, weights="inline")


def test_damaged_weights_are_not_sent(cube, mtf_card, tmp_path):
    path = tmp_path / "damaged.onnx"
    path.write_bytes(mtf_card.read_weights()[:-1])
    with pytest.raises(SuperresError, match="not the file that its card describes"):
        superresolve(cube, dataclasses.replace(mtf_card, path=path))


def test_nothing_is_sent_by_building_a_graph(requests_mock, cube):
    before = len(requests_mock.request_history)
    superresolve(cube)
    assert len(requests_mock.request_history) == before
