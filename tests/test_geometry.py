"""Shifts of real pixels, moved by known fractions of a pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.registration import phase_cross_correlation

from openeo_superres.evaluate.geometry import TEXTURE, local_shifts, shift
from openeo_superres.sensor import BANDS_10M, degrade, upsample_cubic


def moved(image, offset):
    """An image further down and right by ``offset`` pixels: exact for its frequencies, periodic."""
    rows, columns = np.fft.fftfreq(image.shape[-2])[:, None], np.fft.rfftfreq(image.shape[-1])
    turn = np.exp(-2j * np.pi * (offset[0] * rows + offset[1] * columns))
    return np.fft.irfft2(np.fft.rfft2(image) * turn, image.shape[-2:]).astype(np.float32)


@pytest.fixture(scope="module")
def red(sample):
    """B04 of the whole scene: (512, 512)."""
    return sample[0][2]


@pytest.fixture(scope="module")
def blurred(red):
    """The same seen with 20 m pixels, and bicubic."""
    return upsample_cubic(degrade(red[None], BANDS_10M[2:3], 2), 2)[0]


def offsets(most):
    return st.tuples(*[st.floats(-most, most)] * 2)


INSIDE = (slice(100, 228), slice(200, 360))


@settings(max_examples=25)
@given(offset=offsets(6))
def test_a_known_shift_is_found(red, offset):
    """To the nearest hundredth or the one beside; ground comes in on one side and leaves on the other."""
    found = shift(moved(red, offset)[INSIDE], red[INSIDE])
    np.testing.assert_allclose(found, offset, atol=0.016)


@settings(max_examples=15)
@given(offset=offsets(3))
def test_a_known_shift_of_a_blurred_image_is_found(red, blurred, offset):
    """Bicubic from half the pixels against the truth: what it invents has places of its own."""
    found = shift(moved(blurred, offset)[INSIDE], red[INSIDE])
    np.testing.assert_allclose(found, offset, atol=0.035)


@settings(max_examples=15)
@given(offset=offsets(6), gain=st.floats(0.2, 5), bias=st.floats(-500, 500))
def test_shift_is_antisymmetric_and_does_not_see_brightness(red, blurred, offset, gain, bias):
    one, other = moved(red, offset)[INSIDE], blurred[INSIDE]
    found = shift(one, other)
    np.testing.assert_allclose(shift(other, one), -found, atol=1e-9)
    np.testing.assert_allclose(shift(np.float32(gain) * one + np.float32(bias), other), found, atol=0.011)


def test_down_and_right_are_positive(red):
    """No interpolation: the crop starts 2 rows lower and 3 columns to the left."""
    found = shift(red[98:226, 203:331], red[100:228, 200:328])
    np.testing.assert_allclose(found, [2, -3], atol=0.011)


def test_noise_of_the_sensor_costs_a_hundredth(red):
    noise = 8 * np.random.default_rng(0).standard_normal(red.shape, dtype=np.float32)
    found = shift((moved(red, (0.3, -0.7)) + noise)[INSIDE], red[INSIDE])
    np.testing.assert_allclose(found, [0.3, -0.7], atol=0.02)


def test_windows_that_follow_are_better_than_windows_that_stay(red):
    """Small patches with a large shift: 0.01 pixels, where windows at one place leave several times that."""
    offset = np.array([-3.4, 2.6])
    errors = local_shifts(moved(red, offset)[64:448, 64:448], red[64:448, 64:448]) - offset
    assert len(errors) > 25
    assert np.sqrt((errors**2).mean()) < 0.012


def test_pure_phase_is_worse(red, blurred):
    """Patches of bicubic moved by known offsets: 0.03 pixels RMS, with pure phase several times that."""
    errors = {"ours": [], "phase": []}
    window = np.outer(np.hanning(66)[1:-1], np.hanning(66)[1:-1])
    for offset in ((0.1, -0.25), (-0.7, 0.3), (1.5, -2.25)):
        image = moved(blurred, offset)
        for y, x in np.ndindex(3, 3):
            part = np.s_[64 + 64 * y : 128 + 64 * y, 64 + 64 * x : 128 + 64 * x]
            one, other = (window * (i[part] - i[part].mean()) for i in (red, image))
            phase, _, _ = phase_cross_correlation(one, other, upsample_factor=100)
            errors["phase"].append(-phase - offset)
            errors["ours"].append(shift(image[part], red[part]) - offset)
    ours, phase = (np.sqrt(np.mean(np.square(values))) for values in errors.values())
    assert ours < 0.04
    assert phase > 3 * ours


def test_local_shifts_find_what_the_whole_hides(red):
    """The left half a pixel too high, the right half a pixel too low: no shift as a whole."""
    halves = np.concatenate([moved(red, (-0.5, 0))[:, :256], moved(red, (0.5, 0))[:, 256:]], axis=1)
    found = local_shifts(halves[64:448, 64:448], red[64:448, 64:448])
    assert np.median(np.abs(found[:, 0])) == pytest.approx(0.5, abs=0.02)
    assert np.median(np.abs(found[:, 1])) < 0.02
    assert np.sign(found[:, 0]).mean() == pytest.approx(0, abs=0.2)


def test_local_shifts_of_bicubic_are_small(red, blurred):
    found = local_shifts(blurred[64:320, 64:320], red[64:320, 64:320])
    assert 12 < len(found) <= 16
    assert np.median(np.abs(found)) < 0.05


def test_patches_without_texture_are_left_out(red):
    """Flat, nodata, only the sensor's noise, or stripes, which have a shift in one direction alone."""
    image = red[64:192, 64:320].copy()
    rng = np.random.default_rng(0)
    assert len(local_shifts(image, image)) == 8
    image[:64, :64] = 700
    image[:64, 64:128] = 700 + 8 * rng.standard_normal((64, 64))
    image[:64, 128:192] = 700 + 300 * np.sin(np.arange(64.0))
    image[10, 200] = np.nan
    assert len(local_shifts(image, image)) == 4
    # noise of 8 DN: slopes of 8 / sqrt(2) DN per pixel
    assert 2 * 8 / np.sqrt(2) < TEXTURE
    spoilt = red[64:192, 64:320].copy()
    spoilt[100, 10], spoilt[:64, 64:128] = np.nan, 700
    assert len(local_shifts(spoilt, red[64:192, 64:320])) == 6


def test_no_patch_at_all(red):
    assert local_shifts(red[:40, :200], red[:40, :200]).shape == (0, 2)
    assert local_shifts(red[:64, :200], red[:64, :200]).shape == (3, 2)


def test_what_can_not_be_compared(red):
    with pytest.raises(ValueError, match=r"\(y, x\) of one shape, got \(512, 512\) and \(512, 511\)"):
        shift(red, red[:, 1:])
    with pytest.raises(ValueError, match=r"\(y, x\) of one shape, got \(1, 512, 512\)"):
        local_shifts(red[None], red[None])
    with pytest.raises(ValueError, match=r"16 x 16 pixels or more, all of them valid; got shape \(15, 40\)"):
        shift(red[:15, :40], red[:15, :40])
    with pytest.raises(ValueError, match="all of them valid"):
        shift(np.where(red > 900, np.nan, red), red)
    with pytest.raises(ValueError, match="a flat one"):
        shift(np.full_like(red, 5), red)
    with pytest.raises(ValueError, match="patches of 16 pixels or more"):
        local_shifts(red, red, 8)
