"""Sensitivity of measures to what is wrong with a reference, spectra by band, and where figures go."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="the train extra is not installed: make train-setup")
pytest.importorskip("skimage", reason="the evaluate extra is not installed")

from conftest import SAMPLE, write_model

from openeo_superres import list_models, load_card
from openeo_superres.evaluate import bicubic, wald_pair
from openeo_superres.evaluate.metrics import inside
from openeo_superres.sensor import BAND_NAMES, degrade
from studies import publish, scenes, sensitivity, spectra
from studies.crossing import crossing, crossings
from studies.fourier import blurred, shifted
from studies.sensitivity_chart import plot

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def part(sample):
    """A corner of the sample with fields and houses: x10 (4, 160, 160) and x20 (6, 80, 80)."""
    return sample[0][:, 256:416, 256:416], sample[1][:, 128:208, 128:208]


@pytest.fixture
def tiny(part):
    return part[0][:, :64, :64], part[1][:, :32, :32]


@pytest.fixture(scope="module")
def facts(part):
    return {**publish.heading(), "scene": "part", **sensitivity.measure(*part, "cubic_mtf")}


@pytest.fixture(scope="module")
def told(part):
    """Spectra of a model that leaves the pixels as they are."""
    return {
        **publish.heading(),
        "scene": "part",
        **spectra.measure(*part, {"nearest": lambda image: image.repeat(2, axis=1).repeat(2, axis=2)}),
    }


# ---- shifts and blurs


@pytest.mark.parametrize(("down", "right"), [(1, 0), (0, -2), (3, 2)])
def test_a_shift_by_whole_pixels_moves_them(part, down, right):
    moved = shifted(part[0], down, right)
    expected = np.roll(part[0], (down, right), axis=(1, 2))
    np.testing.assert_allclose(inside(moved, 3), inside(expected, 3), atol=0.01)


def test_a_shift_by_parts_of_a_pixel_is_that_of_a_wave():
    y, x = np.mgrid[:64, :96] + 0.5
    wave = np.cos(2 * np.pi * (x / 8)) * np.cos(2 * np.pi * y / 16)
    later = np.cos(2 * np.pi * (x - 0.3) / 8) * np.cos(2 * np.pi * (y - 1.7) / 16)
    # the mirrored wave turns back at the edge: what is farther than that from it is exact to a thousandth
    np.testing.assert_allclose(inside(shifted(wave, 1.7, 0.3), 16), inside(later, 16), atol=0.01)


def test_no_shift_and_no_blur_leave_every_bit(part):
    assert shifted(part[0], 0, 0) is part[0]
    assert blurred(part[0], 1.0) is part[0]


def test_a_blur_keeps_its_part_of_a_wave():
    """At half of Nyquist the fourth root of the MTF there."""
    x = np.arange(64) + 0.5
    for period, kept in ((4, 0.2**0.25), (8, 0.2**0.0625)):
        wave = np.tile(np.cos(2 * np.pi * x / period), (64, 1))
        np.testing.assert_allclose(blurred(wave, 0.2), kept * wave, atol=1e-9)


def test_the_edge_brings_nothing_in():
    """A gradient across the image, periodic, would have a step at the edge."""
    ramp = np.tile(np.arange(100.0), (80, 1)) * 100
    assert np.abs(shifted(ramp, 0, 0.5) - (ramp - 50))[:, 8:-8].max() < 10


# ---- where curves cross


@given(st.floats(0.05, 1.9), st.floats(0.1, 10))
def test_lines_cross_where_they_do(at, slope):
    levels = np.linspace(0, 2, 9)
    assert crossing(levels, slope * levels, np.full(9, slope * at)) == pytest.approx(at)


def test_no_crossing_an_immediate_one_and_a_tie():
    assert crossing([0, 1], [0, 1], [2, 2]) is None
    assert crossing([0, 1], [3, 1], [2, 2]) == 0
    assert crossing([0, 1], [0, 2], [2, 2]) == 1
    assert crossing([0, 1], [-np.inf, 3], [2, 2]) == 1


def test_the_mean_crosses_on_its_own():
    levels = np.array([0.0, 1, 2])
    errors = np.stack([levels, 3 * levels], axis=1)
    assert crossings("ab", levels, errors, np.ones((3, 2))) == {"a": 1, "b": 0.333, "mean": 0.5}


@pytest.mark.parametrize(("period", "kept"), [(4, 0.5), (8, 0.2), (6, 0.0)])
def test_a_wave_of_which_a_part_is_kept_wins_from_a_known_shift_on(period, kept):
    """``arccos((1 + H) / 2) / (2 pi f)``, as the page says."""
    x = np.arange(240.0) + 0.5
    wave = np.tile(1000 * np.cos(2 * np.pi * x / period), (1, 48, 1))
    levels = np.linspace(0, 2, 81)
    moved = [np.tile(1000 * np.cos(2 * np.pi * (x - level) / period), (1, 48, 1)) for level in levels]
    sharp, dull = (
        [sensitivity.likeness(image, reference)["rmse"][0] for reference in moved]
        for image in (wave, kept * wave)
    )
    known = np.arccos((1 + kept) / 2) * period / (2 * np.pi)
    assert crossing(levels, sharp, dull) == pytest.approx(known, abs=0.01)


# ---- sensitivity


def test_nothing_wrong_is_no_error(facts):
    for kind, table in facts["curves"].items():
        sharp = {measure: values[0] for measure, values in table["sharp"].items()}
        assert sharp["l1"] == sharp["rmse"] == sharp["fro"] == sharp["consistency"] == 0, kind
        assert sharp["ssim"] == 1
        assert sharp["frr"] == 100
        assert sharp["psnr"] is None
        assert table["bicubic"]["frr"][0] == 0


def test_likeness_of_the_sharp_image_falls_with_the_shift(facts):
    sharp = facts["curves"]["shift"]["sharp"]
    assert (np.diff(sharp["l1"]) > 0).all()
    assert (np.diff(sharp["psnr"][1:]) < 0).all()
    assert (np.diff(sharp["ssim"]) < 0).all()


def test_likeness_takes_blur_for_better_from_some_shift_on_and_frr_does_not(facts):
    for measure, table in facts["crossing"].items():
        for level in table["bicubic"].values():
            assert 0.3 < level < 1.2, measure
    assert min(facts["frr_lead"].values()) > 95
    rates = facts["curves"]["shift"]
    least = min(np.subtract(rates["sharp"]["frr"], rates["bicubic"]["frr"]))
    assert facts["frr_lead"]["mean"] == pytest.approx(least, abs=0.01)
    assert min(facts["frr_lead"].values()) <= facts["frr_lead"]["mean"]
    assert max(facts["frr_lead"].values()) < 99.99
    shift = facts["levels"]["shift"]
    sharp, dull = (facts["curves"]["shift"][name]["psnr"] for name in ("sharp", "bicubic"))
    at = facts["crossing"]["psnr"]["bicubic"]["mean"]
    for level, ours, theirs in zip(shift[1:], sharp[1:], dull[1:], strict=True):
        assert (ours > theirs) == (level < at)


def test_a_gain_of_the_reference_changes_no_spectrum_and_no_consistency(facts):
    for name, curves in facts["curves"]["gain"].items():
        for measure in ("frr", "consistency"):
            assert np.ptp(curves[measure]) < 0.01, name
        assert curves["l1"][-1] > curves["l1"][0] + 50


def test_noise_and_stripes_have_the_size_they_say(facts):
    """Of reflectance .01 = 100 DN; the sharp image has no other error."""
    for kind in ("noise", "pattern"):
        rmse = facts["curves"][kind]["sharp"]["rmse"]
        np.testing.assert_allclose(rmse, np.linspace(0, 100, 11), atol=0.7)
    assert facts["curves"]["pattern"]["sharp"]["consistency"][-1] < 0.1
    assert facts["curves"]["noise"]["sharp"]["consistency"][-1] > 20


def test_slight_blurs_win_first(facts):
    levels = [facts["crossing"]["l1"][f"MTF {mtf:g}"]["mean"] for mtf in sensitivity.MTFS[1:]]
    assert levels == sorted(levels)
    best = [int(np.argmin(curves["l1"])) for curves in facts["blur"].values()]
    assert best == sorted(best)
    assert best[0] == 0 < best[-1]


def test_the_blurs_frr_is_that_of_the_blur_whatever_the_shift(facts):
    rates = np.array([curves["frr"] for curves in facts["blur"].values()])
    assert np.ptp(rates, axis=0).max() < 2
    assert (np.diff(rates, axis=1) <= 0).all()


def test_figures_say_the_same_again(tiny):
    assert sensitivity.measure(*tiny, "cubic_mtf") == sensitivity.measure(*tiny, "cubic_mtf")


def test_the_picture_shows_every_curve(facts):
    figure = plot(facts)
    panels = np.array(figure.axes).reshape(5, 5)
    drawn = panels[0, 0].lines[0].get_xydata()
    np.testing.assert_allclose(drawn[:, 0], facts["levels"]["shift"])
    np.testing.assert_allclose(drawn[:, 1], facts["curves"]["shift"]["sharp"]["l1"])
    assert panels[1, 0].texts[0].get_text() == f"{facts['crossing']['psnr']['bicubic']['mean']:.2f} px"


# ---- spectra


def test_differences_are_to_the_reference(told):
    for name, table in told["spectra"].items():
        assert list(table) == ["reference", "bicubic", "nearest"]
        fine = len(told["per_km"]) // 2
        difference = np.subtract(table["bicubic"], table["reference"])[fine:].mean()
        assert told["difference"]["bicubic"][name] == pytest.approx(difference, abs=0.002)
        assert difference < -3
    assert list(told["spectra"]) == list(BAND_NAMES)
    assert set(told["frr"]["bicubic"].values()) == {0}
    assert min(told["frr"]["nearest"].values()) > 0


def test_a_model_that_knows_the_truth_has_its_spectrum(part):
    pair = wald_pair(*part, factor=4)
    truth = np.concatenate([pair.target10, pair.target20])
    found = spectra.measure(*part, {"oracle": lambda _: truth})
    assert set(found["difference"]["oracle"].values()) == {0}
    assert set(found["frr"]["oracle"].values()) == {100}


def test_all_frequencies_up_to_those_of_20_m_pixels_are_drawn(told):
    figure = spectra.plot(told)
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert {*BAND_NAMES} < {*panels}
    assert panels["B07"].title.get_fontweight() == "bold"
    lines = panels["B11"].lines
    assert (lines[0].get_ydata() == 0).all()
    expected = np.subtract(told["spectra"]["B11"]["nearest"], told["spectra"]["B11"]["reference"])
    np.testing.assert_allclose(lines[2].get_ydata(), expected)
    assert 24 < lines[0].get_xdata()[-1] < 25
    # input pixels of 40 m in 10 m bands, of 80 m in the others
    assert panels["B02"].lines[-1].get_xdata()[0] == 12.5
    assert panels["B11"].lines[-1].get_xdata()[0] == 6.25


# ---- scenes and figures


def test_the_sample_comes_at_its_native_resolutions(sample):
    for ours, theirs in zip(scenes.native("sample"), sample, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(scenes.native(str(SAMPLE))[1], sample[1])


def test_a_page_is_filled_between_its_marks_and_nowhere_else():
    page = f"above\n{publish.begin('a')}\nold\n{publish.END}\nbelow\n{publish.begin('b')}\n{publish.END}\n"
    filled = publish.filled(page, "b", "new")
    assert filled == page.replace(f"{publish.begin('b')}\n", f"{publish.begin('b')}\n\nnew\n\n")
    assert publish.filled(filled, "b", "new") == filled
    for wrong in ("", publish.begin("b"), 2 * page):
        with pytest.raises(ValueError, match="Expected one"):
            publish.filled(wrong, "b", "new")


def test_json_is_read_as_it_was_written(facts):
    text = publish.text_of(facts)
    assert json.loads(text) == json.loads(json.dumps(facts))
    assert max(map(len, text.splitlines())) < 1000


@pytest.mark.parametrize(
    ("name", "report"), [("sensitivity", sensitivity.report), ("spectra", spectra.report)]
)
def test_the_page_says_what_the_figures_say(name, report):
    facts = json.loads((publish.FIGURES / f"{name}.json").read_text())
    page = (DOCS / "why-not-psnr.md").read_text()
    assert publish.filled(page, name, report(facts)) == page
    assert f"images/{name}.svg" in page


def test_the_pages_headline_is_in_the_figures():
    found = json.loads((publish.FIGURES / "sensitivity.json").read_text())["crossing"]
    page = " ".join((DOCS / "why-not-psnr.md").read_text().split())
    blurred, *bicubic = map(
        float,
        re.search(
            r"shift of about ([\d.]+) pixels on L1 .*? from ([\d.]+) to ([\d.]+) pixels", page
        ).groups(),
    )
    assert blurred == round(min(found["l1"][f"MTF {mtf}"]["mean"] for mtf in (0.4, 0.3, 0.2)), 1)
    means = [found[measure]["bicubic"]["mean"] for measure in ("l1", "psnr", "ssim")]
    assert bicubic == [round(min(means), 1), round(max(means), 1)]


def test_the_pictures_of_the_page_are_those_of_the_figures():
    """Text stands in an SVG beside its outlines."""
    found = json.loads((publish.FIGURES / "sensitivity.json").read_text())
    picture = (DOCS / "images/sensitivity.svg").read_text()
    for table in found["crossing"].values():
        assert f"<!-- {table['bicubic']['mean']:.2f} px -->" in picture
    drawn = json.loads((publish.FIGURES / "spectra.json").read_text())["spectra"]["B07"]
    picture = (DOCS / "images/spectra.svg").read_text()
    for label in drawn:
        assert f"<!-- {label} -->" in picture


def test_the_spectra_of_the_page_are_those_of_the_sample(sample):
    """Bicubic's and the reference's, in three bands' figures: what needs no network."""
    published = json.loads((publish.FIGURES / "spectra.json").read_text())
    found = spectra.measure(*sample, {})
    assert found["per_km"] == published["per_km"]
    for name in ("B02", "B07", "B12"):
        for label in ("reference", "bicubic"):
            np.testing.assert_allclose(
                found["spectra"][name][label], published["spectra"][name][label], atol=0.01
            )
        assert found["difference"]["bicubic"][name] == pytest.approx(
            published["difference"]["bicubic"][name], abs=0.01
        )


def test_the_likeness_of_the_page_is_that_of_the_sample(sample):
    published = json.loads((publish.FIGURES / "sensitivity.json").read_text())
    given = degrade(sample[0], sensitivity.BANDS_10M, 2)
    reference = sensitivity.moved(sample[0], 1)
    at = published["levels"]["shift"].index(1)
    for name, image in (("sharp", sample[0]), ("bicubic", bicubic(given, sensitivity.BANDS_10M))):
        for measure, values in sensitivity.likeness(image, reference).items():
            expected = published["curves"]["shift"][name][measure][at]
            assert values.mean() == pytest.approx(expected, rel=1e-3)


# ---- commands


def call(monkeypatch, study, *arguments):
    monkeypatch.setattr(sys, "argv", [study.__name__, *map(str, arguments)])
    study.main()


def test_commands_write_what_they_print(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scenes, "native", lambda *_: tiny)
    for study in (sensitivity, spectra):
        name = study.__name__.split(".")[1]
        paths = tmp_path / "new" / f"{name}.json", tmp_path / "new" / f"{name}.png"
        call(monkeypatch, study, "cubic_mtf", "--json", paths[0], "--plot", paths[1])
        facts = json.loads(paths[0].read_text())
        assert facts["format"] == 1
        assert facts["software"].startswith("openeo-superres ")
        assert capsys.readouterr().out == f"{study.report(facts)}\n{paths[0]}\n{paths[1]}\n"
        assert paths[1].stat().st_size > 10_000


def test_publishing_writes_figures_picture_and_page(part, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scenes, "native", lambda *_: part)
    monkeypatch.setattr(publish, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(publish, "FIGURES", tmp_path / "figures")
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "why-not-psnr.md"
    page.write_text(f"# Title\n{publish.begin('spectra')}\n{publish.END}\nend\n")
    call(monkeypatch, spectra, "cubic_mtf", "--publish")
    facts = json.loads((tmp_path / "figures/spectra.json").read_text())
    assert spectra.report(facts) in page.read_text()
    assert (tmp_path / "docs/images/spectra.svg").exists()
    assert capsys.readouterr().out.count(str(tmp_path)) == 3


@pytest.mark.parametrize("study", [sensitivity, spectra])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["edsr_4"], "Unknown model 'edsr_4'"),
        (["--scene", "none"], "none"),
        (["--scene", "T33UUB"], "say where that is"),
        (["--plot", "a.jpg"], "Expected a chart's name to end in .svg or .png"),
    ],
)
def test_mistakes_get_one_line(study, arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUPERRES_DATA", raising=False)
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, study, *arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_scale_is_refused(tmp_path, monkeypatch, capsys):
    card = write_model(tmp_path, scale=4)
    for study in (sensitivity, spectra):
        with pytest.raises(SystemExit):
            call(monkeypatch, study, card.path.with_suffix(".json"))
        assert "scale 4" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.real_data
def test_other_scenes_say_the_same(superres_data):
    """The order of things is no matter of the sample: T33UUB, a part of it."""
    x10, x20 = scenes.native("T33UUB", superres_data)
    found = sensitivity.measure(x10[:, :128, :128], x20[:, :64, :64], "cubic_mtf")
    assert 0.4 < found["crossing"]["psnr"]["bicubic"]["mean"] < 1
    assert min(found["frr_lead"].values()) > 95


# ---- figures that are there


@pytest.mark.parametrize("name", ["downstream", "finetuning", "sensitivity", "spectra", "stability"])
def test_figures_are_those_of_the_shipped_weights(name):
    """Weights that are replaced want their studies anew."""
    measured = json.loads((publish.FIGURES / f"{name}.json").read_text(encoding="utf-8"))["weights"]
    shipped = {label: load_card(label).sha256 for label in list_models()}
    assert measured
    # a fine-tuned network is measured, too, and not shipped
    ours = {label: sha256 for label, sha256 in measured.items() if label in shipped}
    assert ours.items() <= shipped.items()
