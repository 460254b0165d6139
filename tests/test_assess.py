"""Everything that is measured of models on a scene: facts are what the functions say, for known models."""

import json

import numpy as np
import pytest
from conftest import write_model

from openeo_superres.evaluate import BORDER, bicubic, consistency, wald_pair, wald_profiles, wald_truth
from openeo_superres.evaluate.assess import MAIN_ALONE, VIEW, assess, eye_catcher
from openeo_superres.evaluate.indices import index_errors
from openeo_superres.evaluate.metrics import sam
from openeo_superres.evaluate.models import labelled, predictor
from openeo_superres.evaluate.part import SMALLEST
from openeo_superres.evaluate.protocols import PROTOCOLS, measure
from openeo_superres.evaluate.radiometry import radiometry
from openeo_superres.evaluate.trials import NATIVE, WALD, plain
from openeo_superres.sensor import BAND_NAMES, BANDS_10M, BANDS_20M, degrade

CHOSEN = ("x2", "x4")


def nearest(image):
    """What noise comes in comes out."""
    return image.repeat(2, axis=1).repeat(2, axis=2)


@pytest.fixture(scope="module")
def small(sample):
    """Fields and a village: x10 (4, 192, 160), x20 (6, 96, 80)."""
    return sample[0][:, 256:448, 256:416], sample[1][:, 128:224, 128:208]


@pytest.fixture(scope="module")
def oracle(small):
    """A model that knows the truth of the protocol x4, and is a DN too bright."""
    truth = wald_truth(wald_pair(*small, factor=4)) + 1
    return lambda image: truth if image.shape[1:] == (48, 40) else bicubic(image)


@pytest.fixture(scope="module")
def calls():
    return []


@pytest.fixture(scope="module")
def found(small, oracle, mtf_card, calls):
    def counted(image):
        calls.append(image.shape[1:])
        return nearest(image)

    models = {"cubic_mtf": predictor(mtf_card, threads=1), "nearest": counted, "oracle": oracle}
    return assess(*small, models, CHOSEN)


def test_facts_are_json(found):
    text = json.dumps([found.wald, found.native, found.judges], allow_nan=False)
    assert json.loads(text) == [found.wald, found.native, found.judges]
    assert list(found.wald) == list(CHOSEN)
    for table in (*found.wald.values(), found.native):
        assert list(table)[:4] == ["bicubic", "cubic_mtf", "nearest", "oracle"]


def test_a_network_runs_once_per_protocol_and_once_more_for_noise(found, calls):
    assert found.native["nearest"]
    assert calls == [(96, 80), (48, 40), (192, 160), (192, 160)]


@pytest.mark.parametrize("protocol", CHOSEN)
def test_figures_are_those_of_the_protocol(found, small, mtf_card, protocol):
    models = {"cubic_mtf": predictor(mtf_card), "nearest": nearest}
    expected = measure(wald_pair(*small, **PROTOCOLS[protocol]), models)
    for label, figures in expected.items():
        own = found.wald[protocol][label]
        assert {key: own[key] for key in figures} == figures
    base = found.wald[protocol]["bicubic"]
    assert (base["gain10"], base["gain20"], base["frr10"]) == (0, 0, 0)


def test_measures_are_of_every_band_that_has_a_truth(found):
    for protocol, table in found.wald.items():
        for label in ("bicubic", "cubic_mtf", "nearest"):
            row = table[label]
            assert row.keys() > WALD.keys() - ({*MAIN_ALONE} if protocol != "x2" else set())
            for key in ("psnr", "ssim", "shift", "bias", "gain"):
                assert list(row[key]) == list(BAND_NAMES)
            assert list(row["frr"]) == list(BAND_NAMES[:4] if protocol == "x2" else BAND_NAMES)
            for band in BAND_NAMES:
                expected = 20 * np.log10(10_000 / row["rmse"][band])
                assert row["psnr"][band] == pytest.approx(expected, abs=0.02)
            means = np.mean([row["frr"][band] for band in BAND_NAMES[:4]])
            assert row["frr10"] == pytest.approx(means, abs=2e-3)
    assert not {*MAIN_ALONE} & found.wald["x4"]["nearest"].keys()


def test_the_truth_is_the_ceiling(found):
    own = found.wald["x4"]["oracle"]
    assert {*own["rmse"].values()} == {1}
    assert {*own["psnr"].values()} == {80}
    assert min(own["ssim"].values()) > 0.9999
    assert min(own["frr"].values()) > 99
    assert {*map(tuple, own["shift"].values())} == {(0, 0)}
    assert own["sam"] < 0.1
    assert list(own["bias"].values()) == pytest.approx([1] * 10, abs=1)
    # its input is what the sensor would see of it, and 8 DN of noise
    assert own["consistency"] == pytest.approx(8, rel=0.1)


def test_measures_over_all_bands_take_the_pixel_sizes_of_the_protocol(found, small):
    """ERGAS has h / l as a factor: in x4, 20 m bands come from 80 m. The angle is taken at 20 m."""
    inner = (slice(None), slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    truth = wald_truth(wald_pair(*small, factor=4))[inner]
    for key, bands, share in (("ergas10", slice(4), 50), ("ergas20", slice(4, 10), 25)):
        means = truth[bands].mean(axis=(1, 2))
        expected = share * np.sqrt(np.mean((1 / means) ** 2))
        assert found.wald["x4"]["oracle"][key] == pytest.approx(expected, abs=6e-4)
    pair = wald_pair(*small)
    output = nearest(pair.input)
    seen = np.concatenate([degrade(output[:4], BANDS_10M, 2), degrade(output[4:], BANDS_20M, 2)])
    known = np.concatenate([degrade(pair.target10, BANDS_10M, 2), pair.target20])
    assert found.wald["x2"]["nearest"]["sam"] == pytest.approx(sam(seen[inner], known[inner]), abs=6e-4)


def test_edges_of_bicubic_are_the_softest(found):
    rises = {
        label: np.mean([row["rise"][band] for band in BAND_NAMES]) for label, row in found.wald["x2"].items()
    }
    assert max(rises["truth"], rises["cubic_mtf"]) < rises["bicubic"]
    assert "truth" not in found.wald["x4"]


def test_nearest_hands_noise_on_as_it_is(found):
    assert list(found.native["nearest"]["noise_gain"].values()) == pytest.approx([1] * 10, abs=1e-3)
    smooth = found.native["bicubic"]["noise_gain"].values()
    sharp = found.native["cubic_mtf"]["noise_gain"].values()
    assert max(smooth) < 1 < min(sharp)


def test_native_facts_are_what_the_functions_say(found, small):
    image = np.concatenate([small[0], nearest(small[1])])
    for label, output in (("bicubic", bicubic(image)), ("nearest", nearest(image))):
        own = found.native[label]
        assert own.keys() == NATIVE.keys()
        assert list(own["consistency"].values()) == pytest.approx(consistency(output, image), abs=6e-4)
        assert list(own["bias"].values()) == pytest.approx(radiometry(output, image).bias, abs=6e-4)
        assert own["indices"] == plain(index_errors(output, image), 6)
    for band in BAND_NAMES:
        assert (
            found.native["cubic_mtf"]["consistency"][band] < found.native["bicubic"]["consistency"][band] / 5
        )
        assert found.native["cubic_mtf"]["rise"][band] < found.native["bicubic"]["rise"][band]


def test_a_shift_is_found(small):
    def moved(image):
        """One pixel of the output to the right, and down."""
        return np.roll(bicubic(image), (1, 1), axis=(1, 2))

    facts = assess(*small, {"moved": moved}, ("x2",))
    for band in BAND_NAMES[:4]:
        assert facts.wald["x2"]["moved"]["shift"][band] == pytest.approx([1, 1], abs=0.15)
        assert facts.wald["x2"]["moved"]["local_shift"][band] == pytest.approx(2**0.5, abs=0.25)
    for band in BAND_NAMES:
        share = 0.5 if band in BAND_NAMES[:4] else 0.25
        assert facts.native["moved"]["shift"][band] == pytest.approx([share, share], abs=0.1)


def test_views_show_the_same_place(found, small):
    degraded, native = found.views
    row, col = eye_catcher(small[0])
    assert list(degraded.images) == ["bicubic", "cubic_mtf", "nearest", "oracle", "truth"]
    assert list(native.images) == ["bicubic", "cubic_mtf", "nearest", "oracle"]
    assert {image.shape for image in degraded.images.values()} == {(10, VIEW, VIEW)}
    assert {image.shape for image in native.images.values()} == {(10, 2 * VIEW, 2 * VIEW)}
    image = np.concatenate([small[0], nearest(small[1])])
    place = image[:, row : row + VIEW, col : col + VIEW]
    np.testing.assert_array_equal(degraded.images["truth"], place)
    np.testing.assert_array_equal(native.images["nearest"], nearest(place))
    pair = wald_pair(*small)
    np.testing.assert_array_equal(
        degraded.images["nearest"], nearest(pair.input)[:, row : row + VIEW, col : col + VIEW]
    )
    assert "no reference" in native.about


def test_the_part_to_look_at_is_where_detail_is(small):
    flat = np.full_like(small[0], 1000)
    flat[:, 40:150, 30:140] = small[0][:, 40:150, 30:140]
    row, col = eye_catcher(flat)
    assert (row % 2, col % 2) == (0, 0)
    assert 40 - VIEW // 4 <= row <= 150 - VIEW + VIEW // 4
    assert 30 - VIEW // 4 <= col <= 140 - VIEW + VIEW // 4


def test_spectra_are_the_profiles_of_the_outputs(found, small):
    for protocol in CHOSEN:
        pair = wald_pair(*small, **PROTOCOLS[protocol])
        spectra = found.spectra[protocol]
        assert list(spectra) == ["bicubic", "cubic_mtf", "nearest", "oracle", "truth"]
        np.testing.assert_array_equal(spectra["truth"], wald_profiles(pair, wald_truth(pair)))
        np.testing.assert_array_equal(spectra["nearest"], wald_profiles(pair, nearest(pair.input)))


def test_what_can_not_be_measured_is_null(small):
    x20 = small[1].copy()
    x20[5] = 1000
    steps = []
    facts = assess(small[0], x20, {}, ("x2",), progress=lambda *step: steps.append(step))
    assert json.dumps([facts.wald, facts.native], allow_nan=False)
    own = facts.wald["x2"]["bicubic"]
    assert (own["shift"]["B12"], own["ssim"]["B12"]) == (None, None)
    assert facts.native["bicubic"]["gain"]["B12"] is None
    assert None not in [own["shift"]["B11"], own["ssim"]["B11"]]
    assert steps == [(1, 2), (2, 2)]


def test_a_protocol_that_is_named_twice_runs_once(small):
    steps = []
    facts = assess(*small, {}, ("x2", "x2"), progress=lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)]
    assert len(facts.views) == 2


def test_the_smallest_part_can_be_judged(sample):
    x10, x20 = sample[0][:, 256 : 256 + SMALLEST, 256 : 256 + SMALLEST], sample[1][:, 128:192, 128:192]
    assert x10.shape[1] == 2 * x20.shape[1] == SMALLEST
    facts = assess(x10, x20, {}, PROTOCOLS)
    assert list(facts.wald) == list(PROTOCOLS)
    for table in facts.wald.values():
        for key in ("psnr", "ssim", "shift"):
            assert None not in table["bicubic"][key].values()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(1.23456), 1.235),
        (float("nan"), None),
        (np.inf, None),
        (-0.0001, 0.0),
        ({"a": np.array([1, np.nan])}, {"a": [1.0, None]}),
    ],
)
def test_plain_numbers(value, expected):
    assert json.dumps(plain(value)) == json.dumps(expected)


# ---- models


def test_the_bands_of_a_model_may_have_another_order(image, mtf_card):
    view = image[:, :40, :60]
    expected = predictor(mtf_card)(view)
    order = list(reversed(range(10)))

    class Turned:
        """A model that takes and gives the bands in the reversed order."""

        margin, scale, memory = mtf_card.margin, 2, None
        bands = BAND_NAMES[::-1]

        @staticmethod
        def open(provider, threads):
            model = mtf_card.open(provider, threads)
            return type(model)(
                name="turned",
                scale=2,
                margin=model.margin,
                bands=BAND_NAMES[::-1],
                fill=model.fill[::-1],
                run=lambda images: model.run(np.ascontiguousarray(images[:, order]))[:, order],
            )

    np.testing.assert_array_equal(predictor(Turned)(view), expected)


def test_large_images_are_predicted_in_chunks(image, mtf_card, monkeypatch):
    view = image[:, :150, :170]
    whole = predictor(mtf_card, threads=1)(view)
    monkeypatch.setattr("openeo_superres.evaluate.models.chunk_size", lambda *_: 64)
    np.testing.assert_allclose(predictor(mtf_card, threads=1)(view), whole, rtol=2e-6, atol=0.01)


def test_models_of_another_scale_are_refused(tmp_path):
    write_model(tmp_path, scale=4, name="wide")
    with pytest.raises(ValueError, match="wide has scale 4 and bands"):
        labelled([str(tmp_path / "wide.json")])


def test_a_path_may_have_an_equals_sign(tmp_path, monkeypatch):
    folder = tmp_path / "run=3"
    folder.mkdir()
    card = write_model(folder).path.with_suffix(".json")
    monkeypatch.chdir(tmp_path)
    for model in (str(card), "run=3/nearest.json"):
        assert list(labelled([model])) == ["cubic_mtf", "nearest"]
    assert list(labelled([f"mine={card}", "other=run=3/nearest.json"])) == ["cubic_mtf", "mine", "other"]


def test_the_truth_is_no_model(nearest_card):
    with pytest.raises(ValueError, match="Two models would be called truth"):
        labelled([f"truth={nearest_card.path.with_suffix('.json')}"])
