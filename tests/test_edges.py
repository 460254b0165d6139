"""Rise across edges: ideal ones of known blur, and real ones."""

from math import erf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openeo_superres.evaluate.edges import _crossing, _offsets, _sampled, find_edges, rise
from openeo_superres.sensor import BANDS_10M, degrade, upsample_cubic
from openeo_superres.udf import superresolve_chunk

PER_SIGMA = 2 * 1.2815516
"""10 to 90 % of a Gaussian's integral, in standard deviations."""


def ideal(angle, sigma, *, size=64, offset=0.3, scale=1, low=500.0, high=1500.0):
    """A straight edge through the middle, blurred by a Gaussian of ``sigma`` (coarse) pixels."""
    y, x = ((np.mgrid[: scale * size, : scale * size] + 0.5) / scale) - size / 2
    distance = np.cos(angle) * x + np.sin(angle) * y + offset
    shares = 0.5 + 0.5 * np.vectorize(erf)(distance / (sigma * np.sqrt(2)))
    return (low + (high - low) * shares).astype(np.float32)


@settings(max_examples=25)
@given(angle=st.floats(0, 2 * np.pi), sigma=st.floats(0.7, 1.5), offset=st.floats(-1, 1))
def test_rise_of_a_gaussian_at_any_angle(angle, sigma, offset):
    image = ideal(angle, sigma, offset=offset)
    edges = find_edges(image)
    assert len(edges.positions) > 5
    assert rise(image, edges) == pytest.approx(PER_SIGMA * sigma, rel=0.04)


@settings(max_examples=15)
@given(angle=st.floats(0, 2 * np.pi), offset=st.floats(-1, 1))
def test_edges_lie_where_they_are_and_point_to_the_bright(angle, offset):
    edges = find_edges(ideal(angle, 1.0, offset=offset))
    y, x = (edges.positions + 0.5 - 32).T
    np.testing.assert_allclose(np.cos(angle) * x + np.sin(angle) * y + offset, 0, atol=0.02)
    across = edges.directions @ [np.sin(angle), np.cos(angle)]
    # half a degree
    assert (across > np.cos(np.radians(0.5))).all()
    np.testing.assert_allclose(np.hypot(*edges.directions.T), 1)


@pytest.mark.parametrize("scale", [2, 4])
def test_rise_in_a_finer_image_is_in_its_pixels(scale):
    edges = find_edges(ideal(0.4, 1.0))
    assert rise(ideal(0.4, 0.7, scale=scale), edges, scale) == pytest.approx(
        scale * PER_SIGMA * 0.7, rel=0.02
    )


def test_a_small_shift_or_another_contrast_does_not_touch_the_rise():
    edges = find_edges(ideal(0.4, 1.0))
    for image in (ideal(0.4, 1.0, offset=0.9), ideal(0.4, 1.0, low=50, high=90)):
        assert rise(image, edges) == pytest.approx(PER_SIGMA, rel=0.02)


def test_ringing_does_not_lengthen_the_rise():
    """Overshoot of 4 % beside the edge, as sharpening leaves it: the plateaus are what they were."""
    sharp = ideal(0.4, 1.0)
    ringing = sharp + 0.8 * (sharp - ideal(0.4, 1.6))
    edges = find_edges(sharp)
    assert ringing.max() > 1540
    assert 0.5 < rise(ringing, edges) / PER_SIGMA < 0.9


def test_curves_corners_and_neighbours_are_no_edges():
    y, x = np.mgrid[:64, :64] - 31.5
    disc = (1500 - 1000 / (1 + np.exp(-2 * (np.hypot(y, x) - 5)))).astype(np.float32)
    stripes = (1000 + 500 * np.sign(np.sin(x / 1.3))).astype(np.float32)
    ramp = (1000 + 20 * x).astype(np.float32)
    for image in (disc, stripes, ramp, np.full((64, 64), 700, np.float32)):
        assert len(find_edges(image).positions) == 0
        assert np.isnan(rise(image, find_edges(image)))


def test_noise_hides_weak_edges():
    """A step of 30 DN in noise of 8 is left out, one of 400 is not."""
    noise = 8 * np.random.default_rng(0).standard_normal((64, 64), dtype=np.float32)
    strong = ideal(0.4, 1.0, low=500, high=900) + noise
    edges = find_edges(strong)
    assert len(edges.positions) > 5
    assert rise(strong, edges) == pytest.approx(PER_SIGMA, rel=0.1)
    assert len(find_edges(ideal(0.4, 1.0, low=500, high=530) + noise).positions) == 0


def test_bicubic_rises_slower_than_the_truth(sample, mtf_model):
    """Real fields, 20 m to 10 m: 2.1 to 2.4 pixels in truth, 3.0 to 3.3 in bicubic."""
    coarse = degrade(sample[0], BANDS_10M, 2)
    baseline = upsample_cubic(coarse, 2)
    whole = np.concatenate([coarse, coarse[[3] * 6]])
    model = superresolve_chunk(whole, mtf_model)
    for k in (0, 2, 3):
        edges = find_edges(sample[0][k])
        assert len(edges.positions) > 200
        truth, ours, theirs = (rise(i, edges) for i in (sample[0][k], model[k], baseline[k]))
        assert max(truth, ours) < theirs
        assert theirs > 1.2 * truth


def test_the_finer_grid_alone_sharpens_nothing(sample):
    """Bicubic of the native band: the same distance on the ground, twice the pixels."""
    part = sample[0][2][128:384, 128:384]
    edges = find_edges(part)
    assert rise(upsample_cubic(part, 2), edges, 2) == pytest.approx(2 * rise(part, edges), rel=0.05)


def test_the_crossings_next_to_the_middle_count():
    across = _offsets()[1]
    profile = np.clip(0.5 + across / 2, 0, 1)
    # a dip below 90 % beside the edge, and one below 10 %
    profile[np.abs(across - 3) < 0.3] = 0.4
    profile[np.abs(across + 3) < 0.3] = 0.6
    assert [_crossing(profile[None], level)[0] for level in (0.1, 0.5, 0.9)] == pytest.approx([-0.8, 0, 0.8])


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_profiles_of_a_finer_image_are_of_the_same_ground(scale):
    """Pixel centres at (k + 0.5) / scale - 0.5 coarse pixels."""
    x = (np.arange(32 * scale) + 0.5) / scale - 0.5
    image = np.broadcast_to(x, (32 * scale, 32 * scale))
    profiles = _sampled(image, np.array([[16.0, 15.0]]), np.array([[0.0, 1.0]]), scale)
    np.testing.assert_allclose(profiles[0], np.broadcast_to(15 + _offsets()[1], profiles[0].shape), atol=1e-3)


def test_a_large_image_takes_no_more_memory_and_has_the_same_edges(sample, monkeypatch):
    part = sample[0][2][:160, :192]
    at_once = find_edges(part)
    monkeypatch.setattr("openeo_superres.evaluate.edges.BATCH", 100)
    in_batches = find_edges(part)
    assert len(at_once.positions) > 20
    np.testing.assert_allclose(in_batches.positions, at_once.positions, atol=1e-9)
    np.testing.assert_allclose(in_batches.directions, at_once.directions, atol=1e-9)


@pytest.mark.parametrize("size", [12, 18, 20, 23])
def test_small_images_have_few_edges(size):
    assert len(find_edges(ideal(0.4, 1.0, size=size)).positions) <= 1


def test_images_without_edges_to_find_or_measure():
    edges = find_edges(ideal(0.4, 1.0))
    with pytest.raises(ValueError, match="2 x 2 pixels per pixel of the edges' band"):
        rise(ideal(0.4, 1.0), edges, 2)
    with pytest.raises(ValueError, match="all pixels valid"):
        find_edges(np.full((64, 64), np.nan))
    with pytest.raises(ValueError, match=r"band \(y, x\).* got shape \(1, 64, 64\)"):
        find_edges(np.ones((1, 64, 64)))
