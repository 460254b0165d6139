import subprocess
import sys
import warnings
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import rasterio
from click.testing import CliRunner
from rasterio.rio.main import main_group

from openeo_superres import products
from openeo_superres.products import run
from openeo_superres.rio_plugin import superres

SAMPLE = Path(__file__).parents[1] / "examples/data"
PART = ("--model", "cubic_mtf", "--window", 100, 200, 40, 30)


def rio(*arguments):
    return CliRunner().invoke(main_group, ["superres", *map(str, arguments)])


def test_it_is_registered():
    (found,) = entry_points(group="rasterio.rio_plugins", name="superres")
    assert found.load() is superres


def test_other_commands_of_rio_do_not_wait_for_it():
    """It takes 1.5 s to import what super-resolves."""
    code = (
        "import sys, openeo_superres.rio_plugin; sys.exit(str({'xarray', 'openeo'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_it_is_the_command_run(tmp_path):
    result = rio(SAMPLE, tmp_path / "out.tif", *PART)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(str(tmp_path / "out.tif"))
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert (dataset.width, dataset.height, dataset.count) == (80, 60, 10)
    assert superres.params == run.params


@pytest.mark.parametrize("arguments", [("none.tif", "out.tif"), (SAMPLE, "none/out.tif")])
def test_a_mistake_is_one_line(tmp_path, arguments):
    result = rio(arguments[0], tmp_path / arguments[1], *PART)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_a_mistake_in_the_model_is_one_line(tmp_path):
    result = rio(SAMPLE, tmp_path / "out.tif", "--model", "none")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "cubic_mtf" in result.stderr


@pytest.mark.filterwarnings("default:of a")
def test_a_warning_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(products, "open_model", lambda *_: warnings.warn("of a\nmodel", stacklevel=1))
    result = rio(SAMPLE, tmp_path / "out.tif", *PART)
    assert (result.exit_code, result.stderr) == (0, "Warning: of a model\n")


def test_help():
    result = rio("--help")
    assert result.exit_code == 0
    assert "superres [OPTIONS] SOURCE... OUTPUT" in result.stdout
