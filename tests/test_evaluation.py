"""The command evaluate: what it writes and says, and what it refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from openeo_superres import __version__, load_card
from openeo_superres.cli import main
from openeo_superres.evaluate import wald_pair
from openeo_superres.evaluate.models import labelled, predictor
from openeo_superres.evaluate.protocols import PROTOCOLS, measure
from openeo_superres.sensor import BAND_NAMES

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "examples/data"
WINDOW = (256, 240, 144, 128)
PART = ("--window", *WINDOW, "--protocol", "x2")
LIMIT = "No Wald figure proves anything at 5 m"
WITHOUT = "import sys; sys.modules.update(dict.fromkeys(('skimage', 'matplotlib', 'jinja2')));"


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in ("evaluate", *arguments)])


def model(card):
    return ("--model", f"mine={card.path.with_suffix('.json')}")


@pytest.fixture(scope="module")
def evaluated(nearest_card, tmp_path_factory):
    """What the command said, and the folder that it wrote into."""
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = call(SAMPLE, *model(nearest_card), *PART)
    assert result.exit_code == 0, result.output
    return result, folder


@pytest.fixture(scope="module")
def facts(evaluated):
    return json.loads((evaluated[1] / "evaluation.json").read_text())


def test_a_report_and_the_facts_are_written(evaluated):
    result, folder = evaluated
    assert sorted(path.name for path in folder.iterdir()) == ["evaluation.html", "evaluation.json"]
    assert (folder / "evaluation.html").read_text().lower().startswith("<!doctype html>")
    assert "evaluation.html: the report" in result.stdout
    assert result.stderr == ""


def test_facts_say_what_was_measured(facts, nearest_card):
    assert (facts["format"], facts["software"]) == (1, f"openeo-superres {__version__}")
    assert facts["scene"] == {
        "name": "data",
        "kind": "pair",
        "level": None,
        "date": None,
        "crs": "EPSG:32618",
        "size": [512, 512],
        "window": list(WINDOW),
        "mask": None,
        "valid": 1.0,
    }
    assert list(facts["models"]) == ["cubic_mtf", "mine"]
    own = facts["models"]["mine"]
    assert (own["name"], own["sha256"], own["scale"]) == ("nearest", nearest_card.sha256, 2)
    assert facts["models"]["cubic_mtf"]["margin"] == load_card("cubic_mtf").margin
    assert list(facts["wald"]) == ["x2"]
    assert list(facts["native"]) == ["bicubic", "cubic_mtf", "mine"]
    assert "judges" not in facts


def test_figures_are_those_of_the_window(facts, sample):
    col, row, width, height = WINDOW
    x10 = sample[0][:, row : row + height, col : col + width]
    x20 = sample[1][:, row // 2 : (row + height) // 2, col // 2 : (col + width) // 2]
    models = {"cubic_mtf": predictor(load_card("cubic_mtf"))}
    expected = measure(wald_pair(x10, x20), models)
    for label in ("bicubic", "cubic_mtf"):
        assert {key: facts["wald"]["x2"][label][key] for key in expected[label]} == expected[label]
    assert set(facts["native"]["mine"]["noise_gain"].values()) == {1.0}


def test_the_table_has_a_row_per_model_and_its_limit(evaluated, facts):
    said = evaluated[0].stdout
    assert LIMIT in " ".join(said.split())
    assert "data: 144 x 128 pixels of 10 m, from column 256, row 240" in said
    rows = {cells[0]: cells for line in said.splitlines() if len(cells := line.strip("│ ").split(" │ ")) > 5}
    cells = [cell.strip() for cell in next(row for name, row in rows.items() if "cubic_mtf" in name)]
    own = facts["wald"]["x2"]["cubic_mtf"]
    assert cells[1:3] == [f"{own['gain10']:+.2f} dB", f"{own['gain20']:+.2f} dB"]
    errors = facts["native"]["cubic_mtf"]["consistency"]
    assert f"{sum(errors[band] for band in BAND_NAMES) / 10:.2f} DN" in cells
    assert {"bicubic", "mine"} < {name.strip() for name in rows}


def test_json_of_the_sample_is_what_was_written(monkeypatch, tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    files = ("--output", "mine.html", "--facts", "other.json")
    result = call("--model", "cubic_mtf", *PART, *files, "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout == (tmp_path / "other.json").read_text()
    assert (tmp_path / "mine.html").stat().st_size > 10_000
    said = json.loads(result.stdout)
    assert list(said["models"]) == ["cubic_mtf"]
    assert said["scene"]["size"] == [512, 512]


def test_files_are_replaced_only_where_that_is_allowed(tmp_path, monkeypatch, facts):
    monkeypatch.setattr("openeo_superres.evaluate.facts.measure", lambda *_, **__: (facts, [], {}))
    output = tmp_path / "out.html"
    arguments = (SAMPLE, *PART, "-o", output)
    for name in ("out.html", "out.json"):
        (tmp_path / name).write_text("mine")
        result = call(*arguments)
        assert result.exit_code == 2
        assert f"{name} exists" in result.stderr
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    output.write_text("mine")
    assert call(*arguments, "--overwrite").exit_code == 0
    assert output.read_text() != "mine"
    assert json.loads((tmp_path / "out.json").read_text()) == facts


def test_what_is_not_known_is_null_in_the_facts_and_said_in_the_table(tmp_path, monkeypatch):
    """10 m bands that are flat: bicubic lacks no detail of them, so none comes back."""
    with rasterio.open(SAMPLE / "virginia_10m.tif") as source:
        profile = source.profile | {"count": 10, "width": 128, "height": 128}
        pixels = source.read(1)[:128:2, :128:2].repeat(2, axis=0).repeat(2, axis=1)
    with rasterio.open(tmp_path / "flat.tif", "w", **profile) as target:
        target.write(np.stack([np.full_like(pixels, 1000)] * 4 + [pixels] * 6))
        target.descriptions = BAND_NAMES
    monkeypatch.chdir(tmp_path)
    result = call("flat.tif", "--model", "cubic_mtf", "--protocol", "x2")
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=pytest.fail)
    own = facts["wald"]["x2"]["cubic_mtf"]
    assert (own["frr10"], own["frr"]["B02"], own["shift"]["B02"]) == (None, None, None)
    assert None not in (own["gain10"], own["gain20"])
    assert "not known" in result.stdout


# ---- mistakes


def scene_of(folder, names, size=64):
    """A GeoTIFF of the sample's place with bands of these names, of which the last has nodata everywhere."""
    with rasterio.open(SAMPLE / "virginia_10m.tif") as source:
        profile = source.profile | {"count": len(names), "width": size, "height": size}
        pixels = source.read(1)[:size, :size]
    pixels = np.stack([pixels] * (len(names) - 1) + [0 * pixels])
    pixels = pixels[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)
    with rasterio.open(folder / "scene.tif", "w", **profile) as target:
        target.write(pixels)
        target.descriptions = names
    return folder / "scene.tif"


def no_scene(folder):
    return (folder / "none.tif",), ["none.tif"]


def scene_without_bands(folder):
    return (scene_of(folder, BAND_NAMES[:4]),), ["lacks band B05, B06, B07, B8A, B11, B12"]


def scene_of_nodata(folder):
    return (scene_of(folder, BAND_NAMES, 256),), ["no part of 128 x 128 pixels of 10 m without nodata"]


def scene_that_is_too_small(folder):
    return (scene_of(folder, BAND_NAMES, 64),), ["64 x 64 pixels is too small", "128 x 128"]


def whole_scene_with_nodata(folder):
    return (scene_of(folder, BAND_NAMES, 256), "--whole"), ["100.00% of the pixels", "nodata"]


def no_sample(folder):  # noqa: ARG001
    return (), ["sample", "say which scene"]


def window_outside(folder):  # noqa: ARG001
    return (SAMPLE, "--window", 500, 0, 200, 200), ["512 x 512"]


def window_that_is_too_small(folder):  # noqa: ARG001
    return (SAMPLE, "--window", 0, 0, 100, 200), ["100 x 200 pixels is too small"]


def window_and_whole(folder):  # noqa: ARG001
    return (SAMPLE, "--window", 0, 0, 200, 200, "--whole"), ["--whole and --window"]


def unknown_model(folder):  # noqa: ARG001
    return (SAMPLE, "--model", "edsr_of_mine"), ["edsr_of_mine", "cubic_mtf"]


def model_twice(folder):
    card = load_card("edsr_2x32").path.with_suffix(".json")
    (folder / "card.json").write_text(card.read_text().replace("edsr_2x32", "cubic_mtf"))
    return (SAMPLE, "--model", folder / "card.json"), ["Two models would be called cubic_mtf", "LABEL="]


def label_of_bicubic(folder):  # noqa: ARG001
    return (SAMPLE, "--model", "bicubic=edsr_2x32"), ["Two models would be called bicubic"]


def corrupted_weights(folder):
    card = load_card("cubic_mtf").path.with_suffix(".json")
    shutil.copy(card, folder / "mine.json")
    weights = bytearray(card.with_suffix(".onnx").read_bytes())
    weights[len(weights) // 2] ^= 1
    (folder / "cubic_mtf.onnx").write_bytes(weights)
    return (SAMPLE, "--model", f"mine={folder / 'mine.json'}"), ["SHA-256"]


def unknown_protocol(folder):  # noqa: ARG001
    return (SAMPLE, "--protocol", "x3"), ["x3", *PROTOCOLS]


def unknown_mask(folder):  # noqa: ARG001
    return (SAMPLE, "--mask", "SCL=3"), ["no mask SCL"]


def no_date(folder):  # noqa: ARG001
    return (SAMPLE, "--date", "2020-01-01"), ["2020-01-01"]


def output_of_another_kind(folder):
    return (SAMPLE, "-o", folder / "out.pdf"), ["out.pdf", ".html"]


def facts_of_another_kind(folder):
    return (SAMPLE, "--facts", folder / "out.txt"), ["out.txt", ".json"]


def no_such_folder(folder):
    return (SAMPLE, "-o", folder / "none/out.html"), ["none", "does not exist"]


def folder_as_output(folder):
    (folder / "out.html").mkdir()
    return (SAMPLE, "-o", folder / "out.html"), ["out.html is a folder"]


def no_name_as_output(folder):  # noqa: ARG001
    return (SAMPLE, "-o", ""), ["is a folder"]


def empty_source(folder):  # noqa: ARG001
    return ("",), ["SOURCE is empty"]


def card_as_facts(folder):
    card = load_card("edsr_2x32").path
    for path in (card, card.with_suffix(".json")):
        shutil.copy(path, folder)
    mine = folder / "edsr_2x32.json"
    return (SAMPLE, "--model", f"mine={mine}", "--facts", mine, "--overwrite"), ["is what would be read"]


@pytest.mark.parametrize(
    "mistake",
    [
        no_scene,
        scene_without_bands,
        scene_of_nodata,
        scene_that_is_too_small,
        whole_scene_with_nodata,
        no_sample,
        window_outside,
        window_that_is_too_small,
        window_and_whole,
        unknown_model,
        model_twice,
        label_of_bicubic,
        corrupted_weights,
        unknown_protocol,
        unknown_mask,
        no_date,
        output_of_another_kind,
        facts_of_another_kind,
        no_such_folder,
        folder_as_output,
        no_name_as_output,
        empty_source,
        card_as_facts,
    ],
    ids=lambda mistake: mistake.__name__,
)
def test_a_mistake_gets_one_line_and_status_2(mistake, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    arguments, said = mistake(tmp_path)
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    for words in said:
        assert words in result.stderr
    assert capfd.readouterr().err == ""
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_no_judge_is_there(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("SUPERRES_BRISQUE", "SUPERRES_OPENSR"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    result = call(SAMPLE, *PART, "--judges")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "No judge is installed" in result.stderr


def test_judges_are_asked(monkeypatch, tmp_path):
    """What they answer is asked for once, and goes into the facts."""
    module = "openeo_superres.evaluate"
    monkeypatch.setattr(f"{module}.facts.available", lambda: ["brisque", "opensr"])
    shapes = []

    def native(outputs, image):
        shapes.append({label: output.shape for label, output in outputs.items()} | {"": image.shape})
        return {"cubic_mtf": {"true colour": -1.5}}

    def wald(pair, outputs):
        shapes.append({label: output.shape for label, output in outputs.items()} | {"": pair.input.shape})
        return {"cubic_mtf": {"synthesis": 0.1}}

    monkeypatch.setattr(f"{module}.assess.judge_native", native)
    monkeypatch.setattr(f"{module}.assess.judge_wald", wald)
    monkeypatch.chdir(tmp_path)
    result = call(SAMPLE, "--model", "cubic_mtf", *PART, "--judges", "--json")
    assert result.exit_code == 0, result.output
    judges = json.loads(result.stdout)["judges"]
    assert judges == {
        "opensr": {"cubic_mtf": {"synthesis": 0.1}},
        "brisque": {"cubic_mtf": {"true colour": -1.5}},
    }
    assert shapes == [
        {"cubic_mtf": (10, 128, 144), "": (10, 64, 72)},
        {"cubic_mtf": (10, 256, 288), "": (10, 128, 144)},
    ]


# ---- what it needs


def execute(code, *arguments):
    command = [sys.executable, "-c", f"{WITHOUT} {code}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [("--help",), ("models",), ("inspect", SAMPLE), ("evaluate", "--help")])
def test_other_commands_do_without_the_extra(arguments):
    result = execute("from openeo_superres.__main__ import run; run()", *arguments)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_missing_extra_gets_one_line():
    result = execute("from openeo_superres.__main__ import run; run()", "evaluate", SAMPLE)
    assert result.returncode == 2
    assert result.stderr.startswith("Error: The command evaluate needs skimage")
    assert "pip install 'openeo-superres[evaluate]'" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.real_data
def test_cards_have_the_figures_of_the_development_scene(superres_data):
    """What is measured now is what the cards say, to the last digit."""
    with np.load(superres_data / "dsen2-l1c/S2A_MSIL1C_20170527_T33UUB.npz") as scene:
        images = [scene[key].astype(np.float32) for key in ("x10", "x20")]
    cards = labelled(["edsr_2x32"])
    models = {label: predictor(card) for label, card in cards.items()}
    for protocol in ("x2", "x4"):
        table = measure(wald_pair(*images, **PROTOCOLS[protocol]), models)
        for label, card in cards.items():
            assert table[label] == card.figures["T33UUB"][protocol][label]
