"""Closed forms of the frequency-domain measures, and what they see in real pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openeo_superres.evaluate.spectrum import frequencies, radial_profile, restoration
from openeo_superres.sensor import BANDS_10M, degrade, upsample_cubic


@pytest.fixture(scope="module")
def truth(sample):
    """The 10 m bands of a part with fields and a village: (4, 160, 192)."""
    return sample[0][:, 256:416, 240:432]


@pytest.fixture(scope="module")
def baseline(truth):
    """The same seen with 20 m pixels, and bicubic."""
    return upsample_cubic(degrade(truth, BANDS_10M, 2), 2)


def compare(predicted, truth, baseline):
    """Restoration of one band."""
    return restoration(*(radial_profile(image) for image in (predicted, truth, baseline)))


# ---- the profile


@pytest.mark.parametrize("shape", [(32, 32), (31, 31), (30, 47), (48, 20), (5, 4)])
def test_profile_is_the_mean_over_annuli_of_the_padded_spectrum(sample, shape):
    """Against the definition, written out: the whole plane, one annulus after the other."""
    band = sample[0][3][256 : 256 + shape[0], 240 : 240 + shape[1]]
    amplitude = np.abs(np.fft.fft2(band, [2 * n for n in shape]))
    rows, columns = (np.fft.fftfreq(2 * n) for n in shape)
    radius = np.hypot(rows[:, None], columns) * min(shape) + 1e-9
    count = min(shape) // 2
    means = [amplitude[(radius >= k) & (radius < k + 1)].mean() for k in range(count)]
    expected = 10 * np.log10(np.array(means) / means[1])
    np.testing.assert_allclose(radial_profile(band), expected, atol=1e-5)
    assert len(frequencies(*shape)) == count


def test_each_band_has_its_profile(truth):
    together = radial_profile(truth)
    assert together.shape == (4, 80)
    np.testing.assert_allclose(together, [radial_profile(band) for band in truth])


@settings(max_examples=20)
@given(row=st.integers(0, 64), column=st.integers(0, 64), gain=st.floats(0.01, 100))
def test_profile_does_not_see_shift_gain_or_orientation(truth, row, column, gain):
    part = truth[2, :64, :64] - truth[2, :64, :64].mean()
    still, moved = np.zeros((2, 128, 128), np.float32)
    still[:64, :64] = part
    moved[row : row + 64, column : column + 64] = np.float32(gain) * part
    expected = radial_profile(still)
    for image in (moved, moved.T, moved[::-1]):
        np.testing.assert_allclose(radial_profile(image), expected, atol=1e-3)


@settings(max_examples=40)
@given(annulus=st.integers(3, 45), angle=st.floats(0, np.pi), shape=st.sampled_from([(96, 96), (96, 150)]))
def test_a_sinusoid_lands_in_its_annulus(annulus, angle, shape):
    frequency = frequencies(*shape)[annulus]
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.sin(2 * np.pi * frequency * (np.cos(angle) * x + np.sin(angle) * y)).astype(np.float32)
    assert radial_profile(image).argmax() == annulus


def test_white_noise_is_flat():
    noise = np.random.default_rng(0).standard_normal((512, 512), dtype=np.float32)
    # the first annuli hold few samples
    levels = radial_profile(noise)[32:]
    assert levels.std() < 0.15
    slope = np.polyfit(np.linspace(0, 1, levels.size), levels, 1)[0]
    assert abs(slope) < 0.1


def test_blur_lowers_the_fine_frequencies_most(truth, baseline):
    loss = radial_profile(truth) - radial_profile(baseline)
    octaves = [loss[:, start : 2 * start].mean(axis=1) for start in (5, 10, 20, 40)]
    assert (np.abs(octaves[0]) < 0.25).all()
    assert (np.diff(octaves, axis=0) > 0).all()
    assert (octaves[-1] > 3).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((8, 8), np.nan, np.float32), "all of them valid"),
        (np.ones((3, 8), np.float32), "4 x 4 pixels or more"),
        (np.zeros((8, 8), np.float32), "is it flat"),
    ],
)
def test_images_without_a_profile(image, message):
    with pytest.raises(ValueError, match=message):
        radial_profile(image)


# ---- the measures


@st.composite
def profiles(draw):
    """A falling reference, and a bicubic profile below it."""
    steps = draw(st.lists(st.floats(0.01, 2), min_size=4, max_size=40))
    reference = np.concatenate([[3, 0], -np.cumsum(steps)])
    return reference, reference * (1 + draw(st.floats(0.05, 1)))


@given(pair=profiles(), share=st.floats(0, 1))
def test_what_is_restored_of_the_difference(pair, share):
    reference, bicubic = pair
    found = restoration(bicubic + share * (reference - bicubic), reference, bicubic)
    lack = 100 * (1 - reference[1:].sum() / bicubic[1:].sum())
    assert found.prr == pytest.approx(lack)
    assert found.arr == pytest.approx(share * lack, abs=1e-9)
    assert found.frr == pytest.approx(100 * share, abs=1e-6)
    assert (found.fro, found.fru) == pytest.approx((0, 0), abs=1e-9)


@given(pair=profiles(), excess=st.floats(0, 0.9))
def test_overshoot_and_undershoot_are_shares_of_the_sums(pair, excess):
    reference, bicubic = pair
    above = restoration(reference * (1 - excess), reference, bicubic)
    assert (above.frr, above.fro, above.fru) == pytest.approx((100, 100 * excess, 0), abs=1e-6)
    below = restoration(bicubic * (1 + excess), reference, bicubic)
    assert (below.frr, below.fro, below.fru) == pytest.approx((0, 0, -100 * excess), abs=1e-6)


def test_the_annulus_of_the_mean_does_not_count():
    reference, bicubic = np.array([9, 0, -2, -4.0]), np.array([9, 0, -3, -6.0])
    predicted = np.array([0, 0, -2, -4.0])
    assert restoration(predicted, reference, bicubic).frr == pytest.approx(100)
    assert restoration(predicted + np.array([99, 0, 0, 0]), reference, bicubic).fro == 0


def test_nothing_to_restore_is_no_rate():
    same = np.array([1, 0, -2.0])
    found = restoration(same, same, same)
    assert np.isnan(found.frr)
    assert (found.prr, found.arr, found.fro, found.fru) == (0, 0, 0, 0)


def test_bicubic_restores_nothing_and_the_truth_all(truth, baseline):
    for band, blurred in zip(truth, baseline, strict=True):
        bicubic, all_of_it = compare(blurred, band, blurred), compare(band, band, blurred)
        assert (bicubic.frr, bicubic.fru) == pytest.approx((0, 0), abs=1e-9)
        assert (all_of_it.frr, all_of_it.fro) == pytest.approx((100, 0), abs=1e-9)
        assert bicubic.prr == all_of_it.prr > 5


def test_shift_costs_errors_but_no_frequency(sample, truth, baseline):
    """Their purpose: two pixels of misregistration bring errors beyond bicubic's, and FRR stays."""
    shifted = sample[0][3, 258:418, 242:434]
    assert np.std(shifted - truth[3]) > 1.5 * np.std(baseline[3] - truth[3])
    assert compare(shifted, truth[3], baseline[3]).frr > 95


def test_noise_overshoots_the_more_the_stronger(truth, baseline):
    noise = np.random.default_rng(0).standard_normal(truth[2].shape, dtype=np.float32)
    overshoot = [compare(truth[2] + s * noise, truth[2], baseline[2]).fro for s in (0, 20, 60, 180)]
    assert overshoot[0] == 0
    assert (np.diff(overshoot) > 0).all()


def test_more_blur_undershoots(truth, baseline):
    blurred = upsample_cubic(degrade(truth, BANDS_10M, 4), 4)
    found = [compare(*bands) for bands in zip(blurred, truth, baseline, strict=True)]
    assert all(band.fru < -4 for band in found)
    assert all(band.frr == pytest.approx(0, abs=0.1) for band in found)
