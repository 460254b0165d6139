"""Real pixels and a fake model for every test."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import rasterio
import xarray as xr
from hypothesis import settings
from onnx import TensorProto, helper

from openeo_superres import ModelCard, load_card
from openeo_superres.sensor import BAND_NAMES
from openeo_superres.udf import ALIGNMENT, FILL_RADIUS, Model

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE = Path(__file__).parents[1] / "examples" / "data"

settings.register_profile("default", deadline=None, print_blob=True)
settings.load_profile("default")


def pytest_configure() -> None:
    """Let SIGINT be heard, by what is started here too: shells have it ignored in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--superres-data",
        default=os.environ.get("SUPERRES_DATA"),
        help="the project's data folder (default: environment variable SUPERRES_DATA)",
    )


@pytest.fixture(scope="session")
def superres_data(pytestconfig: pytest.Config) -> Path:
    folder = pytestconfig.getoption("--superres-data")
    if not folder:
        pytest.skip("needs the data folder: --superres-data or SUPERRES_DATA")
    return Path(folder)


@pytest.fixture(scope="session")
def sample() -> tuple[np.ndarray, np.ndarray]:
    """The repository's scene: x10 (4, 512, 512) and x20 (6, 256, 256), float32 DN."""
    images = []
    for resolution in (10, 20):
        with rasterio.open(SAMPLE / f"virginia_{resolution}m.tif") as source:
            images.append(source.read().astype(np.float32))
    return images[0], images[1]


@pytest.fixture(scope="session")
def image(sample: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The same on the 10 m grid: (10, 512, 512), 20 m bands replicated, read-only."""
    whole = np.concatenate([sample[0], sample[1].repeat(2, axis=1).repeat(2, axis=2)])
    whole.flags.writeable = False
    return whole


@pytest.fixture(scope="session")
def cube(image: np.ndarray) -> xr.DataArray:
    """The same as a cube (bands, y, x), on an even origin in UTM."""
    coords = {
        "bands": list(BAND_NAMES),
        "y": 4_165_120 - 5 - 10.0 * np.arange(image.shape[1]),
        "x": 435_740 + 5 + 10.0 * np.arange(image.shape[2]),
    }
    return xr.DataArray(image, coords, ("bands", "y", "x"))


@pytest.fixture(scope="session")
def mtf_card() -> ModelCard:
    """The shipped model without learning: real numerics, quick."""
    return load_card("cubic_mtf")


@pytest.fixture(scope="session")
def mtf_model(mtf_card: ModelCard) -> Model:
    return mtf_card.open(provider="cpu", threads=1)


def is_slow(name: str) -> bool:
    """Whether a shipped model takes seconds where others take a tenth: it gets a small part of the scene."""
    return load_card(name).parameters > 1_000_000


def write_model(
    path: Path, *, scale: int = 2, margin: int = FILL_RADIUS + ALIGNMENT, name: str = "nearest"
) -> ModelCard:
    """A nearest-neighbour network in our contract, with its card: what comes out is what went in."""
    count = len(BAND_NAMES)
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", count, "y", "x"])
    result = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", count, "fine_y", "fine_x"])
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1.0, 1.0, scale, scale])
    node = helper.make_node(
        "Resize",
        ["input", "", "scales"],
        ["output"],
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )
    graph = helper.make_graph([node], name, [image], [result], [scales])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    facts = {"name": name, "scale": scale, "margin": margin, "bands": ",".join(BAND_NAMES)}
    facts["fill"] = ",".join(["1000"] * count)
    helper.set_model_props(model, {key: str(value) for key, value in facts.items()})
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    (path / f"{name}.onnx").write_bytes(content)
    card = {
        "id": name,
        "properties": {
            "superres:scale": scale,
            "superres:margin": margin,
            "mlm:total_parameters": 0,
            "mlm:input": [{"bands": [{"name": band} for band in BAND_NAMES]}],
        },
        "assets": {
            "model": {
                "href": f"./{name}.onnx",
                "file:checksum": "1220" + hashlib.sha256(content).hexdigest(),
            }
        },
    }
    (path / f"{name}.json").write_text(json.dumps(card))
    return load_card(path / f"{name}.json")


@pytest.fixture(scope="session")
def nearest_card(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return write_model(tmp_path_factory.mktemp("nearest"))


@pytest.fixture(scope="session")
def nearest_model(nearest_card: ModelCard) -> Model:
    return nearest_card.open(provider="cpu", threads=1)


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    """torch keeps to one thread."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
