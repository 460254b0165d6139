"""Change from date to date: what of it is in the inputs, and the page that says so."""

import json
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the evaluate extra is not installed")

from openeo_superres.card import list_models
from openeo_superres.evaluate import NOISE, bicubic
from openeo_superres.evaluate.stability import (
    EDGE,
    FEWEST,
    STABLE,
    change,
    flicker,
    persistence,
    stable,
    unseen,
    visible,
)
from openeo_superres.sensor import BAND_NAMES, BANDS_10M, BANDS_20M, degrade
from studies import publish, stability
from training.cards import predictor

FIGURES = publish.FIGURES / "stability.json"
PAGE = publish.DOCS / "stability.md"


@pytest.fixture(scope="module")
def part(image):
    """Input (10, 96, 128) with land and water."""
    return image[:, 256:352, 256:384]


@pytest.fixture(scope="module")
def fine(part):
    """Fine images with detail that no sensor saw: nearest pixels, and noise of 30 DN."""
    nearest = part.repeat(2, axis=1).repeat(2, axis=2)
    noise = np.random.default_rng(0).standard_normal((2, *nearest.shape), dtype=np.float32)
    return nearest + 30 * noise


def checkerboard(shape):
    """Up and down from pixel to pixel: what every PSF here averages to nothing."""
    rows, columns = np.indices(shape)
    return np.where((rows + columns) % 2, 100, -100).astype(np.float32)


# ---- what the sensor sees


def test_visible_part_looks_the_same_to_the_sensor(fine):
    seen = visible(fine[0])
    for bands, chosen, factor in ((BANDS_10M, slice(4), 2), (BANDS_20M, slice(4, None), 4)):
        whole, parts = (degrade(image[chosen], bands, factor) for image in (fine[0], seen))
        edge = EDGE // (factor // 2)
        inner = (slice(None), slice(edge, -edge), slice(edge, -edge))
        np.testing.assert_allclose(parts[inner], whole[inner], atol=0.1)
        # and it is not the whole
        assert np.abs(fine[0] - seen)[chosen].mean() > 10


def test_what_is_visible_stays(fine):
    """A projection: done twice it is done once."""
    once = visible(fine[0])
    np.testing.assert_allclose(visible(once)[:, 32:-32, 32:-32], once[:, 32:-32, 32:-32], atol=0.1)
    assert np.abs(unseen(once)).max() < 0.1


def test_interpolation_is_visible_altogether(part, mtf_card):
    for output in (bicubic(part), predictor(mtf_card)(part)):
        assert np.sqrt((unseen(output) ** 2).mean()) < 0.1


def test_a_constant_is_visible_and_a_checkerboard_is_not():
    flat = np.full((10, 96, 96), 1234, np.float32)
    np.testing.assert_allclose(visible(flat), flat, rtol=1e-4)
    board = np.broadcast_to(checkerboard((96, 96)), (10, 96, 96))
    np.testing.assert_allclose(unseen(board), board[:, 32:-32, 32:-32], atol=0.1)


def test_bands_of_one_resolution_alone(fine):
    np.testing.assert_array_equal(visible(fine[0][:4], BANDS_10M), visible(fine[0])[:4])
    np.testing.assert_array_equal(visible(fine[0][4:], BANDS_20M), visible(fine[0])[4:])


# ---- change


def test_identical_dates_do_not_change(fine):
    same = change(fine[0], fine[0])
    for values in (same.total, same.varying, same.unseen):
        np.testing.assert_array_equal(values, 0)


def test_a_change_that_is_the_same_everywhere_is_in_the_input(fine):
    brighter = change(fine[0], fine[0] + 250)
    np.testing.assert_allclose(brighter.total, 250, rtol=1e-4)
    np.testing.assert_allclose(brighter.varying, 0, atol=0.01)
    np.testing.assert_allclose(brighter.unseen, 0, atol=0.1)


def test_a_change_that_no_sensor_sees_is_not_in_the_input(fine):
    board = checkerboard(fine[0].shape[1:])
    hidden = change(fine[0], fine[0] + board)
    for values in (hidden.total, hidden.varying, hidden.unseen):
        np.testing.assert_allclose(values, 100, rtol=2e-3)
    # and beside a change of the whole it is the only such part
    both = change(fine[0], fine[0] + board + 75)
    np.testing.assert_allclose(both.total, 125, rtol=2e-3)
    np.testing.assert_allclose(both.varying, 100, rtol=2e-3)
    np.testing.assert_allclose(both.unseen, 100, rtol=2e-3)


def test_order_of_dates_is_no_matter(fine):
    there, back = change(*fine), change(*fine[::-1])
    np.testing.assert_allclose(there.unseen, back.unseen, rtol=1e-5)


def test_the_edge_is_left_out(fine):
    spoilt = fine[0].copy()
    spoilt[:, :4] += 5000
    assert change(fine[0], spoilt).total.max() == 0
    assert change(fine[0], spoilt).unseen.max() < 2


# ---- persistence and flicker


def test_detail_that_stays_is_told_from_detail_that_is_new():
    rng = np.random.default_rng(0)
    place, *news = rng.standard_normal((3, 10, 128, 128)).astype(np.float32) * 20
    same = persistence(place, place)
    np.testing.assert_allclose(same, 1, atol=1e-6)
    np.testing.assert_allclose(persistence(*news), 0, atol=0.05)
    np.testing.assert_allclose(persistence(place + news[0], place + news[1]), 0.5, atol=0.05)
    np.testing.assert_allclose(persistence(place, -3 * place), -1, atol=1e-6)


def test_next_to_no_detail_has_no_persistence():
    detail = np.random.default_rng(0).standard_normal((2, 2, 64, 64)).astype(np.float32)
    detail[:, 0] *= 0.1
    result = persistence(*detail)
    assert np.isnan(result[0])
    assert np.isfinite(result[1])


def test_stable_pixels_have_stable_neighbours(part):
    changed = part.copy()
    changed[0, 40, 50] += STABLE + 1
    changed[1, 40, 50] += STABLE - 1
    # one 20 m pixel
    changed[4, 60:62, 70:72] -= STABLE + 1
    calm = stable(part, changed)
    inner = np.zeros(part.shape, bool)
    inner[:4, 1:-1, 1:-1] = inner[4:, 2:-2, 2:-2] = True
    inner[0, 39:42, 49:52] = False
    inner[4, 58:64, 68:74] = False
    np.testing.assert_array_equal(calm, inner)


def test_nine_of_ten_pixels_are_stable_under_noise_alone(part):
    """Two standard deviations leave out 4.6 % of pixels; of nine all are within with 0.954 ** 9."""
    calm = stable(stability.noisy(part, 1), stability.noisy(part, 2))
    assert calm[:4, 1:-1, 1:-1].mean() == pytest.approx(0.9545**9, abs=0.05)


def test_flicker_is_of_stable_pixels_inside_the_edge(fine, part):
    first = fine[0]
    second = first.copy()
    calm = np.zeros(part.shape, bool)
    calm[:, :40] = True
    second[:, :80] += 3
    second[:, 80:] += 1000
    squares, count = flicker(first, second, calm)
    np.testing.assert_array_equal(count, (80 - 2 * EDGE) * (256 - 4 * EDGE))
    np.testing.assert_allclose(np.sqrt(squares / count), 3, rtol=1e-3)
    none = flicker(first, second, np.zeros_like(calm))
    assert none[0].max() == none[1].max() == 0


# ---- the study


def test_noise_is_a_draw_for_each_pixel_of_a_bands_own_grid(part):
    noise = stability.noisy(part, 3) - part
    assert noise[:4].std() == pytest.approx(NOISE, rel=0.03)
    assert noise[4:].std() == pytest.approx(NOISE, rel=0.05)
    np.testing.assert_array_equal(noise[4:, ::2, ::2], noise[4:, 1::2, 1::2])
    np.testing.assert_array_equal(stability.noisy(part, 3) - part, noise)


def test_figures_of_known_changes(part):
    """Three dates, the whole 100 DN brighter each time, and once a change that is not visible."""
    dates = [part, part + 100, part + 200]
    facts = stability.measure(dates, bicubic)
    for over, total in (("consecutive", 100), ("all", np.sqrt((100**2 + 100**2 + 200**2) / 3))):
        np.testing.assert_allclose(list(facts[over]["total"].values()), total, rtol=1e-3)
        assert max(facts[over]["share"].values()) == 0
        assert set(facts[over]["flicker"].values()) == {None}
        assert set(facts[over]["persistence"].values()) == {None}
    noise = facts["noise"]
    assert min(noise["stable_pixels"].values()) > FEWEST
    # bicubic weakens noise; its squared taps sum to 0.73 per axis at a factor of 2
    assert noise["total"]["B02"] == pytest.approx(np.sqrt(2) * NOISE * 0.8516, rel=0.06)
    assert noise["flicker"]["B02"] < noise["total"]["B02"]


def test_what_a_model_adds_is_its_own(part):
    board = checkerboard([2 * n for n in part.shape[1:]])

    def predict(image):
        """Bicubic, and a pattern that grows with the brightness of the image."""
        return bicubic(image) + board * (image.mean() / part.mean())

    facts = stability.measure([part, part + part.mean(), part + 3 * part.mean()], predict)
    np.testing.assert_allclose(list(facts["consecutive"]["unseen"].values()), 100 * np.sqrt(5 / 2), rtol=0.01)
    np.testing.assert_allclose(list(facts["all"]["unseen"].values()), 100 * np.sqrt(14 / 3), rtol=0.01)
    np.testing.assert_allclose(list(facts["all"]["persistence"].values()), 1, atol=0.01)
    np.testing.assert_allclose(list(facts["consecutive"]["share_varying"].values()), 1, atol=0.01)


def test_truth_of_change():
    """All of it is 1, nothing of it 0, its opposite -3; twice of it as bad as nothing."""
    true = list(20 * np.random.default_rng(0).standard_normal((2, 4, 40, 40)).astype(np.float32))
    for factor, explained in ((1, 1), (0, 0), (-1, -3), (2, 0), (0.5, 0.75)):
        share, correlation = stability._agreement([factor * image for image in true], true)
        np.testing.assert_allclose(share, explained, atol=1e-5)
        assert np.isnan(correlation).all() if factor == 0 else np.allclose(correlation, np.sign(factor))


def test_bicubic_adds_nothing_to_a_change(image):
    dates = [image[:, :160, :160], image[:, :160, :160] * np.float32(1.1)]
    facts = stability.truth_of_change(dates, bicubic)
    assert list(facts["explained"]) == list(BAND_NAMES)
    np.testing.assert_allclose(list(facts["explained"].values()), 0, atol=0.002)


def test_dates_of_the_data_folder(superres_data):
    name, dates = stability.series(superres_data)
    assert name in stability.SERIES
    assert len(dates) == 7
    for date in dates:
        assert date.shape == (10, 240, 224)
        assert np.isfinite(date).all()


def test_too_few_dates(tmp_path):
    with pytest.raises(ValueError, match="Expected two or more dates theia"):
        stability.series(tmp_path)


def test_command(tmp_path, monkeypatch, capsys):
    """Without a data folder: what is not in the input is little more than noise makes."""
    monkeypatch.setattr(stability, "SIZE", 160)
    monkeypatch.setattr(stability, "GAINS", (1.0, 1.1))
    monkeypatch.delenv("SUPERRES_DATA", raising=False)
    files = [tmp_path / "figures.json", tmp_path / "picture.png"]
    monkeypatch.setattr(
        sys, "argv", ["stability", "edsr_2x32", "--json", str(files[0]), "--plot", str(files[1])]
    )
    stability.main()
    assert "edsr_2x32" in capsys.readouterr().out
    facts = json.loads(files[0].read_text())
    assert facts["dates"] == len(stability.GAINS)
    assert list(facts["models"]) == ["bicubic", "cubic_mtf", "edsr_2x32"]
    for label in ("bicubic", "cubic_mtf"):
        assert max(facts["models"][label]["consecutive"]["unseen"].values()) < 0.1
    network = facts["models"]["edsr_2x32"]
    for band in BAND_NAMES:
        assert 0.9 < network["consecutive"]["unseen"][band] / network["noise"]["unseen"][band] < 2
    assert files[1].stat().st_size > 50_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["edsr_4"], "Unknown model 'edsr_4'"),
        (["--data", "nowhere"], "Expected two or more dates"),
        (["--plot", "picture.gif"], "picture.gif"),
    ],
)
def test_mistakes_get_one_line(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stability", *arguments])
    with pytest.raises(SystemExit) as stopped:
        stability.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


# ---- the page


@pytest.fixture(scope="module")
def facts():
    return json.loads(FIGURES.read_text())


def test_page_says_what_the_figures_say(facts):
    page = PAGE.read_text(encoding="utf-8")
    assert publish.filled(page, "stability", stability.text(facts)) == page
    assert list(facts["models"]) == ["bicubic", "cubic_mtf", *(n for n in list_models() if n != "cubic_mtf")]
    assert facts["dates"] == 7
    assert (PAGE.parent / "images/stability.svg").stat().st_size < 1_000_000


def test_page_claims_what_the_figures_show(facts):
    """What stands under "In short"."""
    fine, coarse = BAND_NAMES[:4], BAND_NAMES[4:]
    for label, of in facts["models"].items():
        dates, noise, wald = of["consecutive"], of["noise"], of["wald"]["explained"]
        if label in {"bicubic", "cubic_mtf"}:
            assert max(dates["unseen"].values()) < 0.1
            assert max(map(abs, wald.values())) < 0.002
            continue
        share = dates["share_varying"]
        assert max(share[band] for band in fine) < 0.125
        assert share["B08"] < 0.025
        assert all(0.18 < share[band] < 0.42 for band in coarse)
        assert all(noise["unseen"][band] < 0.6 * dates["unseen"][band] for band in BAND_NAMES)
        assert all(noise["unseen"][band] < 0.25 * dates["unseen"][band] for band in ("B06", "B07", "B8A"))
        assert min(wald.values()) > 0
        assert all(0.115 < wald[band] < 0.275 for band in ("B02", "B03", "B04"))
        assert 0 < wald["B08"] < 0.05
        assert all(0.4 < wald[band] < 0.56 for band in coarse if band != "B05")
        assert 0.2 < wald["B05"] < 0.35
        interpolated = facts["models"]["bicubic"]["consecutive"]["flicker"]
        without = facts["models"]["cubic_mtf"]["consecutive"]["flicker"]
        for band in BAND_NAMES:
            if dates["flicker"][band] is not None:
                assert dates["flicker"][band] > interpolated[band]
                assert without[band] > interpolated[band]
                assert (dates["flicker"][band] < without[band]) == (band in fine)


def test_networks_have_no_negative_zero():
    assert stability._shown(-0.0001, ".1f", 1) == "0.0"
    assert stability._shown(-0.2, ".0f", 100) == "-20 %"
    assert stability._shown(None, ".1f", 1) == ""
