import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeo_superres.sensor import (
    BAND_NAMES,
    BANDS,
    BANDS_10M,
    BANDS_20M,
    cubic_taps,
    degrade,
    psf,
    relative_sigma,
    upsample_cubic,
)

factors = st.sampled_from([2, 4])
exponents = st.floats(0.7, 1.35)
mtfs = st.floats(0.15, 0.4)


def ramp(shape, slope_y, slope_x, cell=1):
    """A plane sampled at the centres of pixels ``cell`` wide."""
    y, x = (cell * (np.arange(n) + 0.5) for n in shape)
    return 1000 + slope_y * y[:, None] + slope_x * x[None, :]


def test_bands_are_sentinel_2_in_the_order_of_the_networks():
    assert BAND_NAMES == ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")
    assert BANDS == BANDS_10M + BANDS_20M
    assert [len(BANDS_10M), len(BANDS_20M)] == [4, 6]
    assert {band.resolution for band in BANDS_10M} == {10}
    assert {band.resolution for band in BANDS_20M} == {20}


@given(mtf=mtfs, factor=factors, exponent=exponents)
def test_psf_is_symmetric_and_keeps_the_mean(mtf, factor, exponent):
    taps = psf(mtf, factor, exponent)
    assert taps.size == 4 * factor
    assert taps.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(taps, taps[::-1], rtol=1e-12)
    assert (np.diff(taps[: taps.size // 2]) > 0).all()


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("band", BANDS, ids=lambda band: band.name)
def test_psf_has_the_mtf_that_takes_one_sentinel_2_to_a_coarser_one(band, factor):
    """Sampling and truncation cost less than 0.001 of the closed form MTF^(1 - 1/f^2)."""
    taps = psf(band.mtf, factor)
    offsets = np.arange(taps.size) - (taps.size - 1) / 2
    coarse_nyquist = 1 / (2 * factor)
    response = float(taps @ np.cos(2 * np.pi * coarse_nyquist * offsets))
    assert response == pytest.approx(band.mtf ** (1 - 1 / factor**2), abs=1e-3)


@given(mtf=mtfs, exponent=exponents)
def test_variances_of_successive_degradations_add_up(mtf, exponent):
    # the second step's sigma counts pixels that are twice as large
    two_steps = relative_sigma(mtf, 2, exponent) ** 2 * (1 + 2**2)
    assert relative_sigma(mtf, 4, exponent) ** 2 == pytest.approx(two_steps)


@given(mtf=mtfs, factor=factors)
def test_a_larger_exponent_blurs_more(mtf, factor):
    sharp, blurred = (relative_sigma(mtf, factor, exponent) for exponent in (0.8, 1.25))
    assert sharp < relative_sigma(mtf, factor) < blurred


@given(value=st.floats(-1000, 20_000), factor=factors, exponent=exponents)
def test_degrade_keeps_a_constant(value, factor, exponent):
    image = np.full((10, 8, 12), value, np.float32)
    result = degrade(image, BANDS, factor, exponent)
    assert result.dtype == np.float32
    assert result.shape == (10, 8 // factor, 12 // factor)
    np.testing.assert_allclose(result, value, rtol=1e-6, atol=1e-3)


@given(factor=factors, exponent=exponents, slope_y=st.floats(-20, 20), slope_x=st.floats(-20, 20))
def test_degrade_does_not_shift(factor, exponent, slope_y, slope_x):
    """A plane is the same plane at the centres of the coarse pixels; half a pixel would be slope * f / 2."""
    shape = (24 * factor, 16 * factor)
    image = np.broadcast_to(ramp(shape, slope_y, slope_x), (10, *shape)).astype(np.float32)
    expected = ramp((24, 16), slope_y, slope_x, cell=factor)[2:-2, 2:-2]
    result = degrade(image, BANDS, factor, exponent)[:, 2:-2, 2:-2]
    np.testing.assert_allclose(result, np.broadcast_to(expected, result.shape), atol=0.01)


def test_degrade_mirrors_beyond_the_edge(sample):
    x10 = sample[0][:, :64, :48]
    mirrored = np.pad(x10, ((0, 0), (16, 16), (16, 16)), mode="symmetric")
    whole = degrade(mirrored, BANDS_10M, 4)[:, 4:-4, 4:-4]
    np.testing.assert_allclose(degrade(x10, BANDS_10M, 4), whole, atol=0.01)


def test_degrade_by_4_is_degrade_by_2_twice(sample):
    """The relative PSF is a semigroup: on real pixels to 0.5 % of their contrast (sampling, truncation)."""
    for image, bands in zip(sample, (BANDS_10M, BANDS_20M), strict=True):
        once = degrade(image, bands, 4)
        twice = degrade(degrade(image, bands, 2), bands, 2)
        inner = slice(4, -4)
        error = np.sqrt(((once - twice)[:, inner, inner] ** 2).mean(axis=(1, 2)))
        assert (error < 0.005 * once.std(axis=(1, 2))).all(), error


def test_degrade_treats_each_band_with_its_own_psf(sample):
    x10 = sample[0][:, :32, :32]
    together = degrade(x10, BANDS_10M, 2)
    for index, band in enumerate(BANDS_10M):
        alone = degrade(x10[index : index + 1], (band,), 2)
        np.testing.assert_array_equal(alone[0], together[index])
    assert not np.allclose(degrade(x10[:1], BANDS_10M[3:], 2)[0], together[0], atol=0.01)


@pytest.mark.parametrize(
    ("shape", "factor"), [((10, 7, 8), 2), ((10, 8, 6), 4), ((9, 8, 8), 2)], ids=["y", "x", "bands"]
)
def test_degrade_says_what_does_not_fit(shape, factor):
    with pytest.raises(ValueError, match=r"Expected 10 bands and a size .* multiple of .* got shape \("):
        degrade(np.zeros(shape, np.float32), BANDS, factor)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_cubic_taps_keep_constants_and_planes(factor):
    taps = cubic_taps(factor)
    assert taps.shape == (factor, 5)
    np.testing.assert_allclose(taps.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(taps, taps[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_upsampling_puts_fine_pixels_where_they_belong(factor):
    """No shift: on a plane the errors of Keys' kernel with a = -0.75 average out within each coarse pixel.

    (They are below 0.1 coarse pixel; only a = -0.5 keeps planes exactly.)
    """
    image = ramp((12, 12), 0, 10, cell=factor).astype(np.float32)
    expected = ramp((12 * factor, 12 * factor), 0, 10)
    error = (upsample_cubic(image, factor) - expected)[3 * factor : -3 * factor, 3 * factor : -3 * factor]
    assert abs(error.mean()) < 1e-3
    assert np.abs(error).max() < 0.1 * 10 * factor


@pytest.mark.parametrize("factor", [2, 4])
def test_upsampling_keeps_a_plane_with_the_coefficient_of_keys(factor):
    offsets = np.arange(-2, 3)
    expected = (np.arange(factor) + 0.5) / factor - 0.5
    np.testing.assert_allclose(cubic_taps(factor, coefficient=-0.5) @ offsets, expected, atol=1e-12)


@pytest.mark.parametrize("factor", [2, 4])
def test_upsampling_is_torch_bicubic(sample, factor):
    """To float32 rounding, edges included."""
    torch = pytest.importorskip("torch", reason="the reference is torch's bicubic interpolation")
    x20 = sample[1][:, :40, :31]
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(x20)[None], scale_factor=factor, mode="bicubic", align_corners=False
    )[0].numpy()
    result = upsample_cubic(x20, factor)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=2e-3)
