"""How far another sensor's images are from Sentinel-2: known discrepancies are found, SEN2VENµS is read."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the train extra is not installed: make train-setup")

from sen2venus_files import WRITERS, as_fine

from openeo_superres.sensor import BANDS_10M, BANDS_20M, degrade
from studies import discrepancy, pairs, publish, scenes
from studies.comparison import BANDS, FIT, GROUPS, Comparison, compare, histograms, spread, summary
from studies.discrepancy_chart import plot
from studies.fourier import shifted

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("one_torch_thread")]

DOCS = Path(__file__).parents[1] / "docs"
COUNT = 12


@pytest.fixture(scope="module")
def facts(sample):
    return {**publish.heading(), "scene": "sample", **discrepancy.simulation(*sample, COUNT)}


@pytest.fixture(scope="module")
def fine(sample):
    """Eight bands at "5 m": (8, 256, 256)."""
    return np.concatenate([degrade(sample[0], BANDS_10M, 2), sample[1][:4]])


def images_of(fine, other=None):
    """A patch without noise: what Sentinel-2 sees of a fine image, and another fine image beside."""
    low = degrade(fine[:4], BANDS_10M, 2), degrade(fine[4:], BANDS_20M[:4], 4)
    return tuple(image.astype(np.float32) for image in (fine if other is None else other, *low))


@pytest.fixture(scope="module")
def patches(sample):
    """As SEN2VENµS has them: 128 x 128 pixels of "5 m"; one of them with nodata."""
    found = as_fine(*sample, edge=128, step=64)
    hole = tuple(image.copy() for image in found[-1])
    hole[0][2, 5, 7] = -10_000
    return [*found[:-1], hole]


@pytest.fixture(scope="module", params=list(WRITERS))
def root(request, patches, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sen2venus")
    WRITERS[request.param](folder, {"ARM": patches[:3], "ALSACE": patches[3:6], "SO2": patches[6:]})
    return folder


# ---- one patch


def test_no_discrepancy_is_found_where_there_is_none(fine):
    found = compare(images_of(fine))
    assert (found.shift == 0).all()
    slope, intercept, rmse, correlation = found.fit.T
    np.testing.assert_allclose(slope, 1, atol=1e-5)
    np.testing.assert_allclose(intercept, 0, atol=0.02)
    np.testing.assert_allclose(rmse, 0, atol=0.02)
    np.testing.assert_allclose(correlation, 1)


@pytest.mark.parametrize(("down", "right"), [(2, 0), (0, -4), (1.3, -0.7)])
def test_a_shift_is_found_in_metres_with_its_direction(fine, down, right):
    found = compare(images_of(fine, shifted(fine, down, right)))
    np.testing.assert_allclose(found.shift[0], [5 * down, 5 * right], atol=0.3)
    np.testing.assert_allclose(found.shift[1], [5 * down, 5 * right], atol=1)


def test_a_line_is_found_band_by_band_whatever_the_shift(fine):
    gains, offsets = np.linspace(0.9, 1.1, 8), np.linspace(-80, 60, 8)
    other = gains[:, None, None] * shifted(fine, 1.5, -1) + offsets[:, None, None]
    slope, intercept, rmse, correlation = compare(images_of(fine, other)).fit.T
    np.testing.assert_allclose(slope, gains, atol=0.002)
    np.testing.assert_allclose(intercept, offsets, atol=3)
    assert (rmse < 0.02 * fine.std(axis=(1, 2))).all()
    assert (correlation > 0.999).all()


def test_what_is_left_about_the_line_is_what_was_added(fine):
    """Noise of the fine image, as it is after its degradation: of the PSF's taps' root of squares."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 50, fine.shape).astype(np.float32)
    left = compare(images_of(fine, fine + noise)).fit[:, 2]
    seen = [degrade(noise[:4], BANDS_10M, 2), degrade(noise[4:], BANDS_20M[:4], 4)]
    expected = np.concatenate([image.std(axis=(1, 2)) for image in seen])
    np.testing.assert_allclose(left, expected, rtol=0.1)


def test_flat_bands_have_no_shift_and_no_line(fine):
    flat = fine.copy()
    flat[[0, 5]] = 700
    found = compare(images_of(flat))
    assert np.isnan(found.fit[[0, 5]]).all()
    assert np.isfinite(np.delete(found.fit, [0, 5], axis=0)).all()
    assert (found.shift == 0).all()
    nothing = compare(images_of(np.full_like(fine, 700)))
    assert np.isnan(nothing.shift).all()
    assert np.isnan(nothing.fit).all()


# ---- many


def test_spread_leaves_out_what_was_not_found():
    found = spread(np.array([np.nan, *range(11)]))
    assert found == {"median": 5, "p10": 1, "p90": 9}
    assert spread(np.array([np.nan])) == {"median": None, "p10": None, "p90": None}


def test_every_patch_is_counted_beyond_the_bins_too():
    fit = np.tile([5.0, -1000, 500, 0.2], (8, 1))
    fit[3] = np.nan
    far = Comparison(np.array([[30.0, 40], [0, 0]]), fit)
    found = histograms([far, far])
    assert found["distance"]["counts"]["10 m"][-1] == 2
    assert found["distance"]["counts"]["20 m"][0] == 2
    for name, at in zip(FIT, (-1, 0, -1, 0), strict=True):
        assert found[name]["counts"]["B02"][at] == 2
        assert sum(found[name]["counts"]["B08"]) == 0
        assert len(found[name]["edges"]) == len(found[name]["counts"]["B02"]) + 1
    assert summary([far])["shift"]["10 m"]["distance"]["median"] == 50
    assert summary([far])["bands"]["B08"]["slope"]["median"] is None


# ---- simulated pairs


def test_pairs_have_what_they_say(sample, fine):
    """Same pixels, shifted and made brighter, in the dataset's form."""
    for images, truth in pairs.simulated(*sample, 3, seed=1):
        assert [image.shape for image in images] == [(8, 192, 192), (4, 96, 96), (4, 48, 48)]
        assert {image.dtype for image in images} == {np.dtype(np.int16)}
        assert (np.abs(truth.shift) <= pairs.SHIFT).all()
        assert (np.abs(truth.gain - 1) <= pairs.GAIN).all()
        assert (np.abs(truth.offset) <= pairs.OFFSET).all()
        moved = shifted(fine, *(truth.shift / 5))
        other = truth.gain[:, None, None] * moved + truth.offset[:, None, None]
        windows = np.lib.stride_tricks.sliding_window_view(other, (192, 192), axis=(1, 2))[:, ::4, ::4]
        errors = (windows - images[0][:, None, None]).std(axis=(0, 3, 4))
        assert errors.min() == pytest.approx(8, abs=0.1)
        row, column = np.unravel_index(errors.argmin(), errors.shape)
        low = degrade(fine[4:], BANDS_20M[:4], 4)[:, row : row + 48, column : column + 48]
        assert (low - images[2]).std() == pytest.approx(8, abs=0.3)


def test_pairs_are_the_same_again_and_differ_from_each_other(sample):
    first, second = (list(pairs.simulated(*sample, 2)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        for ours, theirs in zip(one[0], other[0], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert (first[0][1].shift != first[1][1].shift).all()


def test_a_scene_too_small_for_a_pair_is_refused(sample):
    with pytest.raises(ValueError, match="Expected a scene of 416 pixels of 10 m or more on a side, got 400"):
        next(pairs.simulated(sample[0][:, :, :400], sample[1][:, :, :200], 1))


def test_what_was_put_in_is_found(facts):
    shift = facts["recovered"]["shift"]
    assert shift["10 m"]["pixels"]["p90"] < 0.03
    assert shift["20 m"]["pixels"]["p90"] < 0.06
    for group, (_, _, step) in GROUPS.items():
        assert shift[group]["metres"]["median"] == pytest.approx(
            5 * step * shift[group]["pixels"]["median"], abs=2e-3
        )
        true, found = np.transpose(shift[group]["points"])
        assert len(true) == 2 * COUNT
        assert np.ptp(true) > 10
        assert np.abs(found - true).max() < 1.5
    for band in BANDS:
        assert facts["recovered"]["slope"][band]["p90"] < 0.02
        assert facts["recovered"]["intercept"][band]["p90"] < 20


def test_figures_of_the_page_are_those_of_the_page(facts):
    """The JSON says what the page says, and the first pairs of its run are these."""
    published = json.loads((publish.FIGURES / "discrepancy.json").read_text())
    page = (DOCS / "discrepancy.md").read_text()
    assert publish.filled(page, "discrepancy", discrepancy.report(published)) == page
    for group in GROUPS:
        points = published["recovered"]["shift"][group]["points"]
        assert len(points) == 2 * published["all"]["patches"] == 2 * discrepancy.COUNT
        np.testing.assert_allclose(
            points[: 2 * COUNT], facts["recovered"]["shift"][group]["points"], atol=0.05
        )


def test_the_picture_shows_the_pairs(facts):
    figure = plot(facts)
    panels = {axes.get_title(): axes for axes in figure.axes}
    true, error = panels["10 m bands: error of the shift that is found"].lines[0].get_xydata().T
    points = np.array(facts["recovered"]["shift"]["10 m"]["points"])
    np.testing.assert_allclose(true, points[:, 0])
    np.testing.assert_allclose(error, points[:, 1] - points[:, 0])
    assert figure.subfigs[0].get_suptitle().startswith(f"{COUNT} simulated pairs")
    slopes = next(axes for axes in figure.axes if axes.get_xlabel() == "slope").collections[0].get_array()
    counts = [facts["histograms"]["slope"]["counts"][band] for band in BANDS]
    np.testing.assert_allclose(np.ma.filled(slopes, 0), np.array(counts) / COUNT)


# ---- SEN2VENµS


def test_the_dataset_is_compared_site_by_site(root):
    found = discrepancy.dataset(root)
    assert {site: (of["patches"], of["skipped"]) for site, of in found["sites"].items()} == {
        "ALSACE": (3, 0),
        "ARM": (3, 0),
        "SO2": (2, 1),
    }
    assert (found["all"]["patches"], found["all"]["skipped"]) == (8, 1)
    assert found["all"]["shift"]["10 m"]["distance"]["p90"] < 0.2
    for band in BANDS:
        assert found["all"]["bands"][band]["slope"]["median"] == pytest.approx(1, abs=0.002)
    figure = plot({**publish.heading(), **found})
    assert figure.subfigs[0].get_suptitle() == f"SEN2VENµS {found['version']}: 8 patches of 3 sites"
    by_site = next(axes for axes in figure.axes if axes.get_title() == "20 m bands: by site")
    assert {text.get_text() for text in by_site.get_yticklabels()} == {"ALSACE", "ARM", "SO2"}
    assert "| SO2 | 2 | 1 |" in discrepancy.report(found)


@pytest.mark.parametrize(
    ("options", "sites"),
    [
        ({"sites": ["SO2", "ARM"]}, {"ARM": 3, "SO2": 2}),
        ({"split": "validation"}, {"ALSACE": 3}),
        ({"limit": 2}, {"ALSACE": 2, "ARM": 2, "SO2": 2}),
        ({"sites": ["ARM"], "limit": 99}, {"ARM": 3}),
    ],
)
def test_sites_and_patches_are_chosen(root, options, sites):
    found = discrepancy.dataset(root, **options)["sites"]
    assert {site: of["patches"] for site, of in found.items()} == sites


def test_a_limit_takes_patches_from_all_over_a_site(root, monkeypatch):
    every = [patch for patches in discrepancy.load_dataset(root).sites.values() for patch in patches]
    monkeypatch.setattr(discrepancy.Patch, "read", lambda self: self)
    assert list(discrepancy._images(every, 3)) == [every[0], every[3], every[6]]
    assert list(discrepancy._images(every, None)) == every


def test_patches_are_read_one_by_one(root, monkeypatch):
    """None is read before the one before it was compared."""
    log = []
    of_patch, of_study = discrepancy.Patch.read, discrepancy.compare
    monkeypatch.setattr(discrepancy.Patch, "read", lambda self: log.append("read") or of_patch(self))
    monkeypatch.setattr(discrepancy, "compare", lambda images: log.append("compare") or of_study(images))
    discrepancy.dataset(root, ["ARM", "ALSACE"])
    assert log == ["read", "compare"] * 6


def test_a_site_with_nothing_but_nodata_is_told(patches, tmp_path):
    WRITERS["2.0.0"](tmp_path, {"ARM": patches[:1], "SO2": patches[-1:]})
    found = discrepancy.dataset(tmp_path)
    assert found["sites"]["SO2"] == {"patches": 0, "skipped": 1}
    assert "| SO2 | 0 | 1 | - | - |" in discrepancy.report(found)
    assert plot(found)
    with pytest.raises(ValueError, match="Expected patches without nodata to compare, got none"):
        discrepancy.dataset(tmp_path, ["SO2"])


# ---- the command


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["discrepancy", *map(str, arguments)])
    discrepancy.main()


def test_command_reads_the_dataset(root, tmp_path, monkeypatch, capsys):
    path = tmp_path / "facts.json"
    call(monkeypatch, root, "--site", "ARM", "--limit", 1, "--json", path)
    facts = json.loads(path.read_text())
    assert facts["all"]["patches"] == 1
    assert facts["version"] in WRITERS
    assert capsys.readouterr().out == f"{discrepancy.report(facts)}\n{path}\n"


def test_command_simulates(sample, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scenes, "native", lambda *_: sample)
    path = tmp_path / "a.png"
    call(monkeypatch, "--simulate", "--count", 2, "--plot", path)
    assert "| error of the shift | median | 90 % are below |" in capsys.readouterr().out
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "is required"),
        (["none"], "No SEN2VENµS under none"),
        (["none", "--simulate"], "not allowed with"),
        (["none", "--publish"], "--publish needs --simulate"),
        (["--simulate", "--count", "0"], "expected a number above 0, got 0"),
        (["--simulate", "--scene", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_get_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, *arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_sites_that_are_not_there_are_named(root, monkeypatch, capsys):
    for arguments, message in (
        (["--site", "FR-LQ1"], "No site FR-LQ1 under"),
        (["--split", "validation", "--site", "ARM"], "is in the split validation"),
    ):
        with pytest.raises(SystemExit):
            call(monkeypatch, root, *arguments)
        assert message in capsys.readouterr().err.splitlines()[-1]
