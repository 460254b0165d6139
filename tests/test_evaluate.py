"""Protocols and figures; what the sample gives was measured, the bars lie a little below."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openeo_superres.evaluate import (
    BORDER,
    NOISE,
    WaldPair,
    WaldScores,
    bicubic,
    bicubic_scores,
    consistency,
    gain_db,
    wald_pair,
    wald_profiles,
    wald_scores,
    wald_truth,
)
from openeo_superres.evaluate.protocols import PROTOCOLS
from openeo_superres.evaluate.spectrum import radial_profile, restoration
from openeo_superres.sensor import BANDS, BANDS_10M, BANDS_20M, degrade, upsample_cubic
from openeo_superres.udf import superresolve_chunk


@pytest.fixture(scope="module")
def small(sample):
    """A corner of the scene: x10 (4, 128, 160), x20 (6, 64, 80)."""
    return sample[0][:, :128, :160], sample[1][:, :64, :80]


# ---- the pair


def test_protocols_are_what_they_are_called():
    """Names are on every figure that was published: what they mean is not to change."""
    assert PROTOCOLS == {
        "x2": {"factor": 2},
        "x2 no noise": {"factor": 2, "noise": 0.0},
        "x2 MTF^0.8": {"factor": 2, "exponent": 0.8},
        "x2 MTF^1.25": {"factor": 2, "exponent": 1.25},
        "x2 mild blur": {"factor": 2, "psf": "mild", "noise": 0.0},
        "x4": {"factor": 4},
    }


def test_pair_is_the_scene_degraded_plus_noise(small):
    clean, noisy = wald_pair(*small, noise=0), wald_pair(*small)
    np.testing.assert_array_equal(clean.input[:4], degrade(small[0], BANDS_10M, 2))
    np.testing.assert_array_equal(clean.input[4:, ::2, ::2], degrade(small[1], BANDS_20M, 2))
    # per 20 m pixel one draw, not per replicated pixel
    noise = noisy.input - clean.input
    assert noise[:4].std() == pytest.approx(NOISE, rel=0.03)
    assert noise[4:].std() == pytest.approx(NOISE, rel=0.05)
    for rows, columns in ((0, 1), (1, 0), (1, 1)):
        np.testing.assert_array_equal(noisy.input[4:, rows::2, columns::2], noisy.input[4:, ::2, ::2])


@pytest.mark.parametrize("factor", [2, 4])
def test_pair_has_the_shapes_that_networks_take(small, factor):
    pair = wald_pair(*small, factor=factor)
    height, width = 128 // factor, 160 // factor
    assert pair.input.shape == (10, height, width)
    assert pair.target10.shape == (4, 2 * height, 2 * width)
    assert pair.target20.shape == ((6, height, width) if factor == 2 else (6, 2 * height, 2 * width))
    assert {part.dtype for part in (pair.input, pair.target10, pair.target20)} == {np.dtype(np.float32)}


def test_odd_sizes_are_cropped_to_whole_cells(sample):
    x10, x20 = sample[0][:, :126, :94], sample[1][:, :63, :47]
    pair = wald_pair(x10, x20)
    assert pair.input.shape == (10, 60, 44)
    np.testing.assert_array_equal(pair.target10, x10[:, :120, :88])
    np.testing.assert_array_equal(pair.target20, x20[:, :60, :44])


def test_noise_is_the_same_for_the_same_seed_only(small):
    first, again, other = (wald_pair(*small, seed=seed).input for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.99


def test_mild_blur_is_a_narrow_gaussian_then_block_means(small):
    mild = wald_pair(*small, psf="mild", noise=0).input[:4]
    ours = wald_pair(*small, noise=0).input[:4]
    means = small[0].reshape(4, 64, 2, 80, 2).mean(axis=(2, 4))
    # between the bare mean of blocks and the sensor's own blur
    assert (means.std(axis=(1, 2)) > mild.std(axis=(1, 2))).all()
    assert (mild.std(axis=(1, 2)) > ours.std(axis=(1, 2))).all()
    impulse = np.zeros((4, 32, 32), np.float32)
    impulse[:, 16, 16] = 100.0
    spread = wald_pair(impulse, np.zeros((6, 16, 16), np.float32), psf="mild", noise=0).input[0]
    assert spread.sum() == pytest.approx(25, rel=1e-5)
    # a Gaussian of half a pixel: taps exp(-2 k^2); pixels 16 and 17 make the block
    taps = np.exp(-2.0 * np.arange(-2, 3) ** 2)
    share = (taps[2] + taps[3]) / taps.sum()
    assert spread[8, 8] == pytest.approx(25 * share**2, rel=1e-5)


@pytest.mark.parametrize("arguments", [{"psf": "box"}, {"psf": "mild", "factor": 4}, {"factor": 3}])
def test_unknown_protocols_are_refused(small, arguments):
    with pytest.raises(ValueError, match=r"Expected psf 'relative' with factor 2 or 4, or 'mild'"):
        wald_pair(*small, **arguments)


# ---- the figures


def test_identical_images_have_no_error(small):
    """For factor 4 the output's own grid is the truth's; for 2, the 20 m bands are seen by D first."""
    x10, x20 = small
    fine = wald_pair(x10, x20, noise=0)
    scores = wald_scores(fine, np.concatenate([x10, upsample_cubic(x20, 2)]))
    np.testing.assert_array_equal(scores.rmse[:4], 0)
    assert (scores.rmse[4:] > 0).all()
    np.testing.assert_allclose(scores.consistency[:4], 0, atol=0.01)
    coarse = wald_pair(x10, x20, factor=4, noise=0)
    scores = wald_scores(coarse, np.concatenate([coarse.target10, coarse.target20]))
    np.testing.assert_array_equal(scores.rmse, 0)


def test_20_m_bands_are_judged_after_the_sensor(small):
    x10, x20 = small
    fine = upsample_cubic(x20, 2)
    pair = wald_pair(x10, x20)
    seen = WaldPair(pair.input, x10, degrade(fine, BANDS_20M, 2), 2)
    np.testing.assert_array_equal(wald_scores(seen, np.concatenate([x10, fine])).rmse, 0)


@settings(max_examples=20)
@given(sigma=st.floats(1, 300), seed=st.integers(0, 2**32 - 1))
def test_known_noise_gives_known_rmse(small, sigma, seed):
    pair = wald_pair(*small, factor=4, noise=0)
    truth = np.concatenate([pair.target10, pair.target20])
    noise = np.random.default_rng(seed).standard_normal(truth.shape, dtype=np.float32)
    scores = wald_scores(pair, truth + np.float32(sigma) * noise)
    # (64 - 16) x (80 - 16) pixels: the RMSE of n draws is within 5 / sqrt(2 n) of sigma
    np.testing.assert_allclose(scores.rmse, sigma, rtol=5 / np.sqrt(2 * 48 * 64))


def test_each_band_has_its_own_figure_in_the_order_of_the_bands(small):
    pair = wald_pair(*small, factor=4, noise=0)
    truth = np.concatenate([pair.target10, pair.target20])
    bias = 10.0 * np.arange(1, 11)
    scores = wald_scores(pair, truth + bias[:, None, None].astype(np.float32))
    np.testing.assert_allclose(scores.rmse, bias, rtol=1e-4)
    # a constant passes through the sensor; the truth itself is consistent with its input
    np.testing.assert_allclose(scores.consistency, bias, rtol=0.02)


def test_the_border_is_left_out(small):
    pair = wald_pair(*small, factor=4, noise=0)
    truth = np.concatenate([pair.target10, pair.target20])
    inner = (slice(None), slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    spoilt = np.full_like(truth, 1e6)
    spoilt[inner] = truth[inner]
    np.testing.assert_array_equal(wald_scores(pair, spoilt).rmse, 0)
    spoilt[:, BORDER, BORDER] += 1
    assert (wald_scores(pair, spoilt).rmse > 0).all()


def test_means_are_of_one_resolution():
    errors = np.where([band.resolution == 10 for band in BANDS], 2.0, 5.0)
    errors[[0, 4]] += [4, 6]
    scores = WaldScores(errors, np.zeros(10))
    assert scores.mean_rmse(10) == pytest.approx(3)
    assert scores.mean_rmse(20) == pytest.approx(6)


@pytest.mark.parametrize(("error", "gain"), [(100, 0), (50, 6.0206), (10, 20), (1000, -20)])
def test_gain(error, gain):
    assert gain_db(100, error) == pytest.approx(gain, abs=1e-4)


@pytest.mark.parametrize(("reference", "error"), [(0, 5), (5, 0), (0, 0)])
def test_there_is_no_gain_over_or_by_what_is_perfect(reference, error):
    assert np.isnan(gain_db(reference, error))


def test_too_small_an_image_is_an_error():
    pair = wald_pair(np.ones((4, 32, 32), np.float32), np.ones((6, 16, 16), np.float32))
    with pytest.raises(ValueError, match=r"16 x 16 pixels is too small to compare: 8 are left out"):
        bicubic_scores(pair)


@pytest.mark.parametrize("factor", [2, 4])
def test_profiles_are_of_the_bands_with_a_reference_inside_the_border(small, factor):
    pair = wald_pair(*small, factor=factor, noise=0)
    truth = wald_truth(pair)
    assert len(truth) == (4 if factor == 2 else 10)
    profiles = wald_profiles(pair, truth)
    np.testing.assert_array_equal(profiles, radial_profile(truth[:, BORDER:-BORDER, BORDER:-BORDER]))
    output = bicubic(pair.input)
    output[: len(truth)] = truth
    output[:, :BORDER] = 1e6
    np.testing.assert_array_equal(wald_profiles(pair, output), profiles)


# ---- bicubic and the model without learning, on real pixels


def test_bicubic_takes_each_band_from_its_native_grid(image):
    part = image[:, :64, :64]
    output = bicubic(part)
    assert output.shape == (10, 128, 128)
    np.testing.assert_array_equal(output[4:], upsample_cubic(part[4:, ::2, ::2], 4))
    np.testing.assert_array_equal(output[:4], upsample_cubic(part[:4], 2))


def test_cubic_mtf_beats_bicubic_on_the_sample(sample, mtf_model):
    """Wald x2 with 8 DN of noise: +2.04 dB on the 10 m bands, +2.38 dB on the 20 m bands, better in each."""
    pair = wald_pair(*sample)
    reference = bicubic_scores(pair)
    scores = wald_scores(pair, superresolve_chunk(pair.input, mtf_model))
    assert (scores.rmse < reference.rmse).all()
    assert gain_db(reference.mean_rmse(10), scores.mean_rmse(10)) > 2.0
    assert gain_db(reference.mean_rmse(20), scores.mean_rmse(20)) > 2.3
    assert scores.consistency.max() < 2
    assert (reference.consistency > 10 * scores.consistency).all()


def test_cubic_mtf_beats_bicubic_at_the_factor_of_20_m_bands(sample, mtf_model):
    """Wald x4: +2.19 dB and +1.40 dB."""
    pair = wald_pair(*sample, factor=4)
    reference = bicubic_scores(pair)
    scores = wald_scores(pair, superresolve_chunk(pair.input, mtf_model))
    assert gain_db(reference.mean_rmse(10), scores.mean_rmse(10)) > 2.1
    assert gain_db(reference.mean_rmse(20), scores.mean_rmse(20)) > 1.35


@pytest.mark.parametrize(("factor", "lowest"), [(2, 48), (4, 17)])
def test_cubic_mtf_restores_frequencies_of_the_sample(sample, mtf_model, factor, lowest):
    """FRR of 50 to 56 (x2) and 18 to 59 (x4: the 20 m bands least), hardly any overshoot."""
    pair = wald_pair(*sample, factor=factor)
    output = superresolve_chunk(pair.input, mtf_model)
    images = (output, wald_truth(pair), bicubic(pair.input))
    bands = [restoration(*rows) for rows in zip(*(wald_profiles(pair, i) for i in images), strict=True)]
    assert lowest < min(band.frr for band in bands) < lowest + 3
    assert max(band.frr for band in bands) < 60
    assert all(band.fro < 0.1 and band.fru > -0.01 for band in bands)


def test_cubic_mtf_gives_the_native_image_back(image, mtf_model):
    """At 5 m there is no reference but the input: within 2 DN (measured 0.1 to 1.2), bicubic 9 to 68 DN."""
    part = image[:, :256, :256]
    ours = consistency(superresolve_chunk(part, mtf_model), part)
    assert ours.max() <= 2
    assert (consistency(bicubic(part), part) > 10 * ours).all()


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("arguments", "bicubic_rmse", "gain10", "gain20"),
    [
        ({}, None, 2.43, 2.52),
        ({"noise": 0.0}, 85.0, 2.72, None),
        ({"noise": 0.0, "exponent": 0.8}, None, 1.91, None),
        ({"noise": 0.0, "exponent": 1.25}, None, 2.92, None),
    ],
    ids=["8 DN noise", "no noise", "MTF^0.8 no noise", "MTF^1.25 no noise"],
)
def test_figures_of_the_development_scene(superres_data, mtf_model, arguments, bicubic_rmse, gain10, gain20):
    """T33UUB: an independent implementation of the protocol gave these figures."""
    with np.load(superres_data / "dsen2-l1c/S2A_MSIL1C_20170527_T33UUB.npz") as scene:
        pair = wald_pair(*(scene[key].astype(np.float32) for key in ("x10", "x20")), **arguments)
    reference = bicubic_scores(pair)
    scores = wald_scores(pair, superresolve_chunk(pair.input, mtf_model))
    if bicubic_rmse is not None:
        assert reference.mean_rmse(10) == pytest.approx(bicubic_rmse, abs=0.1)
    for resolution, gain in ((10, gain10), (20, gain20)):
        if gain is not None:
            found = gain_db(reference.mean_rmse(resolution), scores.mean_rmse(resolution))
            assert found == pytest.approx(gain, abs=0.03)
