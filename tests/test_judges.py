"""Judges with an environment of their own: what goes in and comes out, what is said where there is none."""

import os
import sys

import numpy as np
import pytest

from openeo_superres import load_card
from openeo_superres.errors import JudgeError
from openeo_superres.evaluate import bicubic, judges, wald_pair, wald_truth
from openeo_superres.picture import COMPOSITES
from openeo_superres.sensor import BAND_NAMES

needs_brisque = pytest.mark.skipif(
    not judges.BRISQUE.interpreter.exists(), reason="make brisque-setup has not been run"
)
needs_opensr = pytest.mark.skipif(
    not judges.OPENSR.interpreter.exists(), reason="make opensr-setup has not been run"
)
TITLES = [composite.title for composite in COMPOSITES]


@pytest.fixture
def stand_in(tmp_path):
    """Makes an interpreter that gives an expression of the arrays ``a``, whatever it is asked."""

    def make(answer):
        path = tmp_path / "python"
        path.write_text(
            f"#!{sys.executable}\n"
            "import json, sys\nimport numpy as np\n"
            "a = [np.load(path) for path in sys.argv if path.endswith('.npy')]\n"
            "print('noise of a library')\n"
            f"print(json.dumps({answer}))\n"
        )
        path.chmod(0o755)
        return path

    return make


SEEN = (
    "[dict(zip(('reflectance', 'spectral', 'spatial', 'synthesis', 'im_metric', 'om_metric', 'ha_metric'),"
    " (float(a[0].min()), float(a[0].max()), a[0].shape[0], a[0].shape[1], float(abs(o - a[1]).max()),"
    " float(o[0, 0, 0]), o.shape[1]))) for o in a[2:]]"
)
"""What the stand-in of opensr-test tells of what it got, under the names that opensr-test has."""


@pytest.fixture
def as_opensr(stand_in, monkeypatch):
    monkeypatch.setenv("SUPERRES_OPENSR", str(stand_in(SEEN)))


# ---- in another interpreter


def test_brisque_is_computed_elsewhere(stand_in):
    flat, striped = np.zeros((2, 16, 16, 3), np.uint8)
    striped[::2] = 10
    answer = "[100 - float(abs(np.diff(p.astype(float), axis=0)).mean()) for p in a]"
    assert judges.brisque([flat, striped], stand_in(answer)) == [100, 90]


@pytest.mark.parametrize(("name", "target"), [("brisque", "brisque-setup"), ("opensr", "opensr-setup")])
def test_missing_environment_is_said(name, target, tmp_path):
    judge = judges.JUDGES[name]
    message = (
        rf"^{judge.title} has .*none is not there: run make {target} in a checkout, .* {judge.variable}$"
    )
    with pytest.raises(JudgeError, match=message):
        judge.ask([], tmp_path / "none")


def test_failures_are_said(stand_in):
    picture = np.zeros((16, 16, 3), np.uint8)
    path = stand_in("0")
    for program, reason in (
        ("raise ImportError('no libGL')", "ImportError: no libGL"),
        ("print('neither')", r"it answered 'neither\\n'"),
        ("", "it answered ''"),
    ):
        path.write_text(f"#!{sys.executable}\n{program}\n")
        with pytest.raises(JudgeError, match=f"BRISQUE failed in the environment of .*: {reason}$"):
            judges.brisque([picture], path)


def test_environment_variable_goes_before_the_checkout(stand_in, monkeypatch):
    for judge in judges.JUDGES.values():
        monkeypatch.delenv(judge.variable, raising=False)
        assert judge.interpreter == judges.CHECKOUT / judge.folder / "bin/python"
    monkeypatch.setenv("SUPERRES_BRISQUE", str(stand_in("[]")))
    assert judges.BRISQUE.interpreter == stand_in("[]")


def test_available_are_those_whose_interpreter_is_there(stand_in, monkeypatch):
    monkeypatch.setenv("SUPERRES_BRISQUE", os.devnull + "/none")
    monkeypatch.setenv("SUPERRES_OPENSR", str(stand_in("[]")))
    assert judges.available() == ["opensr"]


def test_make_sets_up_the_environments_that_are_looked_for():
    rules = (judges.CHECKOUT / "Makefile").read_text()
    for judge in judges.JUDGES.values():
        assert f" := {judge.folder}\n" in rules
        assert f"\n{judge.target}: " in rules


# ---- BRISQUE


def test_the_input_decides_the_stretch(image):
    part = image[:, :64, :64]
    output = bicubic(part)
    drawn = judges.pictures(output, part)
    assert len(drawn) == len(COMPOSITES)
    assert all(picture.shape == (128, 128, 3) and picture.dtype == np.uint8 for picture in drawn)
    brighter = output.copy()
    brighter[BAND_NAMES.index("B04")] += 200
    difference = judges.pictures(brighter, part)[0].astype(int) - drawn[0]
    assert difference[..., 0].mean() > 1
    assert not difference[..., 1:].any()


def test_native_figures_are_differences_to_bicubic(image, stand_in, monkeypatch):
    monkeypatch.setenv("SUPERRES_BRISQUE", str(stand_in("[float(p.mean()) for p in a]")))
    part = image[:, :64, :64]
    output = bicubic(part)
    brighter = output.copy()
    brighter[BAND_NAMES.index("B07")] += 100
    table = judges.judge_native({"b": output, "a": brighter}, part)
    assert list(table) == ["bicubic", "b", "a"]
    assert table["bicubic"] == table["b"] == dict.fromkeys(TITLES, 0.0)
    assert table["a"]["red edge"] > 1
    assert (table["a"]["true colour"], table["a"]["SWIR"]) == (0, 0)


@pytest.mark.parametrize("shape", [(64, 64), (66, 90), (70, 72), (74, 128)])
def test_middles_of_inputs_and_outputs_are_of_one_place(shape):
    """As the networks' grids lie over each other: pixel (y, x) of the input is 2 x 2 of the output."""
    image = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(1, *shape)
    middle = judges._middle(image, 64)
    fine = judges._middle(image.repeat(2, axis=1).repeat(2, axis=2), 64, 2)
    assert middle.shape == (1, 64, 64)
    assert np.array_equal(fine, middle.repeat(2, axis=1).repeat(2, axis=2))
    row, column = divmod(int(middle[0, 0, 0]), shape[1])
    assert row % 4 == column % 4 == 0
    for corner, length in ((row, shape[0]), (column, shape[1])):
        assert abs(2 * corner + 64 - length) <= 8


@needs_brisque
def test_real_brisque_prefers_the_deconvolved_image(image):
    part = np.ascontiguousarray(image[:, 256:384, :128])
    sharper = load_card("cubic_mtf").open(provider="cpu", threads=1).run(part[None])[0]
    table = judges.judge_native({"cubic_mtf": sharper}, part)
    assert np.isfinite(list(table["cubic_mtf"].values())).all()
    assert np.mean(list(table["cubic_mtf"].values())) < 0


# ---- opensr-test


@pytest.mark.usefixtures("as_opensr")
def test_opensr_gets_reflectances_that_are_positive():
    lr = np.full((4, 40, 40), 5000, np.float32)
    lr[0, 0, 0] = -300
    hr = np.full((4, 80, 80), 2000, np.float32)
    [first, second] = judges.opensr(lr, [hr, hr + 1000], hr)
    assert first["reflectance"] == pytest.approx(1e-4)
    assert first["spectral"] == 0.5
    assert (first["spatial"], first["synthesis"]) == (4, 40)
    assert (first["improvement"], second["improvement"]) == (0, pytest.approx(0.1))
    assert (first["omission"], second["omission"]) == (pytest.approx(0.2), pytest.approx(0.3))


@pytest.mark.usefixtures("as_opensr")
@pytest.mark.parametrize(
    ("factor", "resolution", "bands", "size"), [(2, 10, 4, 256), (4, 10, 4, 128), (4, 20, 6, 64)]
)
def test_bands_are_judged_on_the_grid_of_their_truth(sample, factor, resolution, bands, size):
    pair = wald_pair(*sample, factor=factor)
    table = judges.judge_wald(pair, {"zero": np.zeros_like(bicubic(pair.input))}, resolution)
    assert list(table) == ["bicubic", "zero", "truth"]
    facts = table["truth"]
    # as the stand-in counts: bands and rows of the input, rows of the output, distance to the truth
    assert (facts["spatial"], facts["synthesis"]) == (bands, size)
    assert facts["hallucination"] == 512 // (factor // 2)
    assert facts["improvement"] == 0
    assert table["bicubic"]["improvement"] > 0.01
    assert table["zero"]["omission"] == pytest.approx(1e-4)
    lowest = 0 if resolution == 10 else 4
    corner = max(1, wald_truth(pair)[lowest, 0, 0])
    assert facts["omission"] == pytest.approx(corner / 10_000, abs=1e-4)


@pytest.mark.usefixtures("as_opensr")
def test_of_a_larger_scene_the_middle_is_judged(sample, monkeypatch):
    monkeypatch.setattr(judges, "WALD_SIZE", 64)
    pair = wald_pair(*sample, factor=2)
    facts = judges.judge_wald(pair, {})["truth"]
    assert (facts["synthesis"], facts["hallucination"]) == (64, 128)
    assert facts["omission"] == pytest.approx(pair.target10[0, 192, 192] / 10_000, abs=1e-4)


def test_a_shift_that_is_not_found_is_left_out(sample, stand_in, monkeypatch):
    """JSON has no NaN."""
    answer = SEEN.replace("a[0].shape[0]", "float('nan')")
    monkeypatch.setenv("SUPERRES_OPENSR", str(stand_in(answer)))
    facts = judges.judge_wald(wald_pair(*sample, factor=4), {})["truth"]
    assert set(facts) == {*judges.OPENSR_NAMES.values()} - {"spatial"}


@pytest.mark.parametrize(("factor", "resolution"), [(2, 20), (2, 60), (4, 60)])
def test_bands_without_truth_are_refused(sample, factor, resolution):
    pair = wald_pair(sample[0][:, :64, :64], sample[1][:, :32, :32], factor=factor)
    with pytest.raises(ValueError, match=f"factor {factor} has no truth for bands of {resolution} m"):
        judges.judge_wald(pair, {}, resolution)


@needs_opensr
def test_real_opensr_tells_bicubic_truth_and_invention_apart(sample):
    """Floor and ceiling as published for its defaults, and what it is known to take out and to miss."""
    pair = wald_pair(sample[0][:, :256, :256], sample[1][:, :128, :128])
    truth = wald_truth(pair)
    shifted = np.roll(truth, 1, axis=2)
    noise = np.random.default_rng(0).permutation(truth.reshape(4, -1), axis=1).reshape(truth.shape)
    outputs = {"shifted": shifted, "bright": 1.5 * truth, "noise": noise}
    table = judges.judge_wald(pair, outputs)
    for facts in table.values():
        assert facts["improvement"] + facts["omission"] + facts["hallucination"] == pytest.approx(1, abs=1e-3)
    # softmin(T = 1/4) of the distances 0, 1, 1: 1 / (1 + 2 exp(-4))
    ceiling = table["truth"]["improvement"]
    assert ceiling == pytest.approx(1 / (1 + 2 * np.exp(-4)), abs=1e-3)
    assert table["bicubic"]["improvement"] < 0.5 < table["bicubic"]["omission"]
    assert table["noise"]["hallucination"] > 0.9
    # a shift by a pixel is half of one of the input's
    assert table["shifted"]["spatial"] == pytest.approx(0.5, abs=0.12)
    assert 0.9 < table["shifted"]["improvement"] < ceiling
    assert table["bright"]["improvement"] == pytest.approx(ceiling, abs=0.01)
    assert table["bright"]["reflectance"] > 10 * table["truth"]["reflectance"]
    assert table["bicubic"]["synthesis"] < table["truth"]["synthesis"]
    # what has nothing in common with the input has no shift to it
    assert "spatial" not in table["noise"]
