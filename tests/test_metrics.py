"""Metrics against closed forms, against other implementations, and on real pixels."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio

from openeo_superres.evaluate import bicubic, consistency
from openeo_superres.evaluate.indices import INDICES, LEAST_SUM, index, index_errors
from openeo_superres.evaluate.metrics import ergas, psnr, rmse, sam, ssim
from openeo_superres.evaluate.noise import SHARE, flat, noise_gain
from openeo_superres.evaluate.radiometry import bias, gain, radiometry
from openeo_superres.sensor import BAND_NAMES, BANDS_10M, cubic_taps, degrade, upsample_cubic
from openeo_superres.udf import superresolve_chunk


@pytest.fixture(scope="module")
def truth(sample):
    """The 10 m bands of a part with fields and a village: (4, 96, 128)."""
    return sample[0][:, 256:352, 240:368]


@pytest.fixture(scope="module")
def blurred(truth):
    """The same seen with 20 m pixels, and bicubic."""
    return upsample_cubic(degrade(truth, BANDS_10M, 2), 2)


@pytest.fixture(scope="module")
def part(image):
    """An input: (10, 96, 112)."""
    return image[:, 256:352, 240:352]


def nearest(image):
    return image.repeat(2, axis=1).repeat(2, axis=2)


# ---- errors by band


@settings(max_examples=20)
@given(factor=st.floats(-20, 20))
def test_rmse_scales_with_the_error(truth, blurred, factor):
    scaled = truth + np.float32(factor) * (blurred - truth)
    np.testing.assert_allclose(rmse(scaled, truth), abs(factor) * rmse(blurred, truth), rtol=1e-3, atol=1e-3)


def test_psnr_of_a_known_error(truth):
    """100 DN of 10 000: 40 dB; a peak twice as high: 6.02 dB more; no error: infinite."""
    offset = truth + np.array([100, 10, 1000, 0], np.float32)[:, None, None]
    assert psnr(offset, truth).tolist() == pytest.approx([40, 60, 20, np.inf])
    assert psnr(offset, truth, peak=20_000)[0] == pytest.approx(46.0206)


@pytest.mark.parametrize("peak", [10_000, 255.0])
def test_psnr_is_that_of_scikit_image(truth, blurred, peak):
    expected = [
        peak_signal_noise_ratio(band, other, data_range=peak)
        for band, other in zip(truth, blurred, strict=True)
    ]
    np.testing.assert_allclose(psnr(blurred, truth, peak), expected, rtol=1e-5)


def test_ssim_is_its_formula(truth, blurred):
    """Wang et al. (2004), written out: windows of 11 x 11 pixels, one after the other."""
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = np.outer(taps, taps) / taps.sum() ** 2
    extent = np.ptp(truth, axis=(1, 2)).astype(float)

    def windows(image):
        return np.lib.stride_tricks.sliding_window_view(image.astype(float), (11, 11), axis=(1, 2))

    def mean(values):
        return np.einsum("byxij,ij->byx", values, weights)

    one, other = windows(blurred), windows(truth)
    mean1, mean2 = mean(one), mean(other)
    variance1, variance2 = mean(one**2) - mean1**2, mean(other**2) - mean2**2
    covariance = mean(one * other) - mean1 * mean2
    c1, c2 = ((k * extent[:, None, None]) ** 2 for k in (0.01, 0.03))
    similar = (2 * mean1 * mean2 + c1) * (2 * covariance + c2)
    similar /= (mean1**2 + mean2**2 + c1) * (variance1 + variance2 + c2)
    np.testing.assert_allclose(ssim(blurred, truth), similar.mean(axis=(1, 2)), atol=1e-6)


def test_ssim_of_the_same_is_one_and_falls_with_noise(truth):
    np.testing.assert_allclose(ssim(truth, truth), 1)
    noise = np.random.default_rng(0).standard_normal(truth.shape, dtype=np.float32)
    found = [ssim(truth + sigma * noise, truth) for sigma in (0, 20, 60, 180)]
    assert (np.diff(found, axis=0) < 0).all()


def test_a_flat_reference_has_no_ssim(truth):
    reference = truth.copy()
    reference[1] = 500
    found = ssim(truth, reference)
    assert np.isnan(found).tolist() == [False, True, False, False]


# ---- over all bands


@pytest.mark.parametrize("angle", [0, 0.001, 1, 45, 90, 179])
def test_spectral_angle_of_known_vectors(angle):
    radians = np.radians(angle)
    one = np.full((2, 3, 5), 700.0)
    one[1] = 0
    other = np.broadcast_to(300 * np.array([np.cos(radians), np.sin(radians)])[:, None, None], one.shape)
    assert sam(one, other) == pytest.approx(angle, rel=1e-9, abs=1e-12)


@settings(max_examples=20)
@given(seed=st.integers(0, 99), low=st.floats(1e-3, 1), high=st.floats(1, 1e3))
def test_spectral_angle_does_not_see_brightness(truth, blurred, seed, low, high):
    """Shade and slopes: a factor per pixel and image changes nothing; nor does it matter which is which."""
    factors = np.random.default_rng(seed).uniform(low, high, (2, *truth.shape[1:]))
    expected = sam(blurred, truth)
    assert sam(factors[0] * blurred, factors[1] * truth) == pytest.approx(expected, rel=1e-6)
    assert sam(truth, blurred) == pytest.approx(expected, rel=1e-9)


def test_pixels_without_a_spectrum_have_no_angle(truth, blurred):
    dark = blurred.copy()
    dark[:, :, :64] = 0
    assert sam(dark, truth) == pytest.approx(sam(blurred[:, :, 64:], truth[:, :, 64:]))
    assert np.isnan(sam(np.zeros_like(truth), truth))


@pytest.mark.parametrize(("ratio", "expected"), [(0.5, 5), (0.25, 2.5), (1, 10)])
def test_ergas_of_a_known_error(ratio, expected):
    """Each band is off by a tenth of its mean."""
    reference = np.broadcast_to(np.array([100.0, 1000, 5000])[:, None, None], (3, 6, 4))
    assert ergas(1.1 * reference, reference, ratio) == pytest.approx(expected)


def test_ergas_takes_the_square_mean_of_the_bands():
    reference = np.full((2, 4, 4), 1000.0)
    image = reference + np.array([300, 400])[:, None, None]
    assert ergas(image, reference, 0.5) == pytest.approx(50 * np.sqrt((0.09 + 0.16) / 2))


@pytest.mark.training
@pytest.mark.usefixtures("one_torch_thread")
def test_against_torchmetrics(truth, blurred):
    torch = pytest.importorskip("torch")
    others = pytest.importorskip("torchmetrics.functional.image")
    pair = [torch.from_numpy(array.astype(np.float64))[None] for array in (blurred, truth)]
    assert sam(blurred, truth) == pytest.approx(np.degrees(others.spectral_angle_mapper(*pair).item()))
    theirs = others.error_relative_global_dimensionless_synthesis(*pair, ratio=2)
    assert ergas(blurred, truth, 0.5) == pytest.approx(theirs.item(), rel=1e-6)
    for k in range(4):
        bands = [tensor[:, k : k + 1] for tensor in pair]
        peaks = others.peak_signal_noise_ratio(*bands, data_range=10_000.0)
        assert psnr(blurred, truth)[k] == pytest.approx(peaks.item(), rel=1e-6)
        _, theirs = others.structural_similarity_index_measure(
            *bands, sigma=1.5, data_range=float(np.ptp(truth[k])), return_full_image=True
        )
        # theirs keeps what the padding touched
        assert ssim(blurred, truth)[k] == pytest.approx(theirs[..., 5:-5, 5:-5].mean().item(), abs=1e-6)


# ---- radiometry


@settings(max_examples=10)
@given(slope=st.floats(0.5, 2), offset=st.floats(-200, 200))
def test_bias_and_gain_of_a_linear_change(part, slope, offset):
    """An output that is the input's, changed by a known line; D leaves constants as they are."""
    found = radiometry(np.float32(slope) * bicubic(part) + np.float32(offset), part)
    still = radiometry(bicubic(part), part)
    np.testing.assert_allclose(found.gain, slope * still.gain, rtol=1e-4)
    inner = part[:, 8:-8, 8:-8].mean(axis=(1, 2))
    expected = slope * (still.bias + inner) + offset - inner
    np.testing.assert_allclose(found.bias, expected, rtol=1e-3, atol=0.05)


def test_gain_is_a_regression_on_the_input(part):
    """Against numpy's line; noise of the output's own leaves the slope as it is, the other way round not."""
    noise = 300 * np.random.default_rng(0).standard_normal((10, 192, 224), dtype=np.float32)
    output = bicubic(part) + noise
    seen = degrade(output[:4], BANDS_10M, 2)[:, 8:-8, 8:-8]
    given = part[:4, 8:-8, 8:-8]
    pairs = [[array.ravel().astype(float) for array in bands] for bands in zip(seen, given, strict=True)]
    expected = [np.polyfit(x, y, 1)[0] for y, x in pairs]
    np.testing.assert_allclose(gain(output, part)[:4], expected, rtol=1e-4)
    np.testing.assert_allclose(gain(output, part), gain(bicubic(part), part), atol=0.05)
    assert (1 / np.array([np.polyfit(y, x, 1)[0] for y, x in pairs]) > np.array(expected) + 0.02).all()


def test_radiometry_is_one_pass_for_three(part):
    output = bicubic(part)
    found = radiometry(output, part)
    np.testing.assert_array_equal(found.consistency, consistency(output, part))
    np.testing.assert_array_equal(found.bias, bias(output, part))
    np.testing.assert_array_equal(found.gain, gain(output, part))
    assert (np.abs(found.bias) <= found.consistency).all()


def test_a_flat_band_has_no_gain(part):
    image = part.copy()
    image[6] = 700
    found = radiometry(bicubic(image), image)
    assert np.isnan(found.gain).tolist() == [k == 6 for k in range(10)]
    assert found.bias[6] == pytest.approx(0, abs=1e-3)


def test_the_model_without_learning_is_fair(part, mtf_model):
    """cubic_mtf on real pixels: within 2 per mille and 0.1 DN; bicubic loses up to a tenth."""
    found = radiometry(superresolve_chunk(part, mtf_model), part)
    np.testing.assert_allclose(found.gain, 1, atol=2e-3)
    assert (np.abs(found.bias) < 0.1).all()
    assert (gain(bicubic(part), part) < 0.99).all()


# ---- indices


def test_index_of_known_reflectances():
    image = np.zeros((10, 1, 2), np.float32)
    for band, value in {"B04": 1000, "B08": 3000, "B03": 1500, "B8A": 2500, "B11": 1500}.items():
        image[BAND_NAMES.index(band)] = value
    assert {name: index(name, image)[0, 0] for name in INDICES} == pytest.approx(
        {"NDVI": 0.5, "NDWI": -1 / 3, "NDMI": 0.25}
    )


@pytest.mark.parametrize(
    ("red", "nir", "there"), [(50, 50, True), (50, 49, False), (900, -900, False), (-900, -300, False)]
)
def test_index_of_the_dark_is_not_a_number(red, nir, there):
    image = np.zeros((10, 2, 2), np.float32)
    image[2], image[3] = red, nir
    assert LEAST_SUM == 100
    assert np.isfinite(index("NDVI", image)).all() == there


def test_index_errors_of_a_known_change(part):
    """B08 brighter by half, everything else as the input: NDVI rises by what the formula says."""
    output = nearest(part)
    clean = index_errors(output, part)
    # nearest seen again is blurred, so compare with the change of its own indices
    changed = output.copy()
    changed[3] *= 1.5
    found = index_errors(changed, part)
    assert found["NDVI"]["bias"] > 0.05
    assert found["NDWI"]["bias"] < -0.05
    assert found["NDMI"] == clean["NDMI"]
    assert all(abs(error["bias"]) <= error["rmse"] for error in (*found.values(), *clean.values()))


def test_index_errors_of_level_ground_are_exact():
    values = np.array([400, 700, 800, 2400, 1, 1, 1, 2500, 1500, 1], np.float32)
    image = np.broadcast_to(values[:, None, None], (10, 48, 48))
    output = nearest(image)
    output[2] = 1200
    found = index_errors(output, image)
    assert found["NDVI"] == pytest.approx({"rmse": 1 / 6, "bias": 1 / 3 - 1 / 2}, abs=1e-4)
    for name in ("NDWI", "NDMI"):
        assert found[name] == pytest.approx({"rmse": 0, "bias": 0}, abs=1e-4)


def test_the_error_of_an_index_is_a_root_of_squares():
    """Right half off by a sixth, left half right; the blurred border between them is a small share."""
    image = np.full((10, 48, 128), 1000, np.float32)
    output = nearest(image)
    output[2, :, 128:] = 500
    found = index_errors(output, image)["NDVI"]
    assert found == pytest.approx({"rmse": 1 / 3 / np.sqrt(2), "bias": 1 / 6}, rel=0.02)


def test_dark_pixels_do_not_count_in_index_errors():
    image = np.full((10, 48, 48), 2000, np.float32)
    image[2:4, :, 24:] = 10
    found = index_errors(nearest(image), image)
    assert np.isfinite(list(found["NDVI"].values())).all()
    image[:] = 10
    assert all(np.isnan(list(error.values())).all() for error in index_errors(nearest(image), image).values())


# ---- noise


def test_the_flattest_tenth(part):
    chosen = flat(part)
    assert chosen.shape == part.shape[1:]
    assert SHARE <= chosen.mean() < SHARE + 0.02
    spread = np.abs(np.diff(part[3].astype(float), axis=1))[:, 1:]
    assert spread[chosen[:, 2:]].mean() < 0.5 * spread.mean()


def test_a_step_in_any_band_is_not_flat(part):
    image = np.full_like(part, 1000)
    image += np.random.default_rng(0).standard_normal(part.shape, dtype=np.float32)
    image[7, :, 56:] += 300
    assert not flat(image)[:, 54:58].any()


def test_noise_is_of_the_strength_asked_for(part):
    """As the model gets it: one value per native pixel, another in each band."""
    given = []

    def predict(image):
        given.append(image - part)
        return nearest(image)

    noise_gain(predict, part, sigma=5.0)
    noise = max(given, key=np.ptp)
    np.testing.assert_allclose(noise[:4].std(axis=(1, 2)), 5, rtol=0.05)
    np.testing.assert_allclose(noise[4:, ::2, ::2].std(axis=(1, 2)), 5, rtol=0.08)
    np.testing.assert_array_equal(np.ptp(noise[4:].reshape(6, 48, 2, 56, 2), axis=(2, 4)) < 0.01, True)


def test_flat_is_relative_to_the_band():
    """A bright, rough band must not hide where a quiet one has its detail."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((2, 60, 80), dtype=np.float32) * np.array([1, 500], np.float32)[:, None, None]
    image[0, :, 40:] *= 5
    assert flat(image)[:, :38].sum() > 20 * flat(image)[:, 42:].sum()


def test_nearest_neighbour_hands_noise_on(part):
    np.testing.assert_allclose(noise_gain(nearest, part), 1, rtol=1e-5)


@pytest.mark.parametrize("factor", [-2.0, 0.5, 3.0])
def test_noise_gain_of_a_factor(part, factor):
    found = noise_gain(lambda image: np.float32(factor) * nearest(image), part)
    np.testing.assert_allclose(found, abs(factor), rtol=1e-5)


def test_noise_gain_of_a_filter_is_the_norm_of_its_taps(image):
    """Sharpening along y by (-0.4, 1.8, -0.4) on the bands' own grid: sqrt(0.16 + 3.24 + 0.16)."""

    def predict(scene):
        native = np.concatenate([scene[:4], nearest(scene[4:, ::2, ::2])])
        step = np.array([1] * 4 + [2] * 6)
        rows = [
            1.8 * band - 0.4 * (np.roll(band, k, 0) + np.roll(band, -k, 0))
            for band, k in zip(native, step, strict=True)
        ]
        return nearest(np.stack(rows).astype(np.float32))

    expected = np.sqrt(2 * 0.4**2 + 1.8**2)
    # 9 200 flat pixels, a quarter as many values in the 20 m bands
    found = noise_gain(predict, image[:, 128:448, 128:448])
    np.testing.assert_allclose(found[:4], expected, rtol=0.04)
    np.testing.assert_allclose(found[4:], expected, rtol=0.08)


def test_noise_gain_of_bicubic_is_that_of_its_taps(image):
    """The squared norm of the taps, mean over the phases; axes multiply."""
    found = noise_gain(bicubic, image)
    for bands, factor in ((slice(0, 4), 2), (slice(4, 10), 4)):
        expected = (cubic_taps(factor) ** 2).sum(axis=1).mean()
        np.testing.assert_allclose(found[bands], expected, rtol=0.04)
    np.testing.assert_array_equal(noise_gain(bicubic, image), found)


# ---- what can't be compared


@pytest.mark.parametrize("metric", [rmse, psnr, ssim, sam, lambda a, b: ergas(a, b, 0.5)])
def test_shapes_that_differ(truth, metric):
    with pytest.raises(ValueError, match=r"of one shape, got \(4, 96, 128\) and \(1, 96, 128\)"):
        metric(truth, truth[:1])
    with pytest.raises(ValueError, match=r"\(bands, y, x\) of one shape, got \(96, 128\)"):
        metric(truth[0], truth[0])


def test_what_metrics_ask_for(truth):
    with pytest.raises(ValueError, match=r"11 x 11 pixels or more for SSIM, got shape \(4, 10, 128\)"):
        ssim(truth[:, :10], truth[:, :10])
    with pytest.raises(ValueError, match="two bands or more"):
        sam(truth[:1], truth[:1])
    for ratio in (0, 2):
        with pytest.raises(ValueError, match=r"ratio h / l in \]0, 1\], fine pixels over coarse ones"):
            ergas(truth, truth, ratio)
    with pytest.raises(ValueError, match="positive means"):
        ergas(truth, 0 * truth, 0.5)
    with pytest.raises(ValueError, match=r"5 x 5 pixels or more, got shape \(4, 4, 128\)"):
        flat(truth[:, :4])
    with pytest.raises(ValueError, match="too small to compare"):
        noise_gain(nearest, np.ones((10, 16, 32), np.float32))


def test_the_folder_needs_numpy_alone():
    code = """
import sys
import openeo_superres.evaluate, openeo_superres.evaluate.metrics, openeo_superres.evaluate.radiometry
import openeo_superres.evaluate.indices, openeo_superres.evaluate.noise
print(sorted({"skimage", "matplotlib", "jinja2", "scipy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
