"""What fine-tuning gains: the figures of the study, its table, picture and page."""

import json
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the evaluate extra is not installed")
pytest.importorskip("skimage", reason="the evaluate extra is not installed")

from conftest import write_model

from openeo_superres.evaluate import bicubic
from openeo_superres.picture import COMPOSITES
from studies import finetuning, publish
from studies.finetuning_chart import SHOWN, plot
from studies.finetuning_table import BLIND, KNOWING, figure_of, report

TITLES = [composite.title for composite in COMPOSITES]
GROWING = {"improvement": 1, "omission": 0, "hallucination": -1}


@pytest.fixture
def judges(monkeypatch):
    """Stand for both: answer by the place of a label among the others."""
    monkeypatch.setattr(
        finetuning,
        "judge_native",
        lambda outputs, _: {
            label: dict.fromkeys(TITLES, 0.0 - n) for n, label in enumerate({"bicubic": 0, **outputs})
        },
    )
    monkeypatch.setattr(
        finetuning,
        "judge_wald",
        lambda _, outputs, resolution: {
            label: {word: resolution + sign * n / 10 for word, sign in GROWING.items()}
            for n, label in enumerate(["bicubic", *outputs, "truth"])
        },
    )


def sharper(image):
    """Bicubic with more contrast from pixel to pixel."""
    base = bicubic(image)
    return base + 0.5 * (base - (np.roll(base, 1, axis=1) + np.roll(base, -1, axis=1)) / 2)


@pytest.fixture
def part(sample):
    """A corner of the sample with fields and houses."""
    return sample[0][:, 256:416, 256:416], sample[1][:, 128:208, 128:208]


@pytest.fixture
def facts(part, judges):  # noqa: ARG001
    scene = finetuning.measure(*part, {"before": bicubic, "after": sharper}, ["brisque", "opensr"])
    return {"weights": {"before": "", "after": ""}, "scenes": {"part": scene}}


def test_every_measure_has_its_figures(facts):
    scene = facts["scenes"]["part"]
    for asked in (*KNOWING, *BLIND):
        for label in ("bicubic", "before", "after"):
            assert isinstance(figure_of(scene, asked, label), float), (asked, label)
    assert json.loads(publish.text_of(facts)) == facts


def test_figures_stand_with_their_model(facts):
    scene = facts["scenes"]["part"]
    for place in (*finetuning.CHOSEN, "native"):
        for key in ("rise10", "consistency"):
            assert scene[place]["after"][key] != scene[place]["before"][key] == scene[place]["bicubic"][key]
        assert scene[place]["after"]["rise10"] < scene[place]["before"]["rise10"]
    assert scene["x2"]["after"]["frr10"] > scene["x2"]["before"]["frr10"] == 0
    # each judge's answer by label; at x2 there is no truth for the 20 m bands
    assert scene["x2"]["after"]["opensr"] == {
        "10": {"improvement": 10.2, "omission": 10, "hallucination": 9.8}
    }
    assert scene["x4"]["truth"]["opensr"]["20"]["improvement"] == 20.3
    assert scene["native"]["after"]["brisque"]["SWIR"] == -2
    assert 1 < scene["x4"]["truth"]["rise20"] < scene["x4"]["bicubic"]["rise20"]
    assert set(scene["spectra"]["B07"]) == {"reference", "bicubic", "before", "after"}


def test_judges_that_are_not_there_are_left_out(part, monkeypatch):
    for name in ("judge_native", "judge_wald"):
        monkeypatch.setattr(finetuning, name, None)
    scene = finetuning.measure(*part, {"before": bicubic, "after": sharper}, [])
    facts = {"weights": {"before": "", "after": ""}, "scenes": {"part": scene}}
    text = report(facts)
    assert "BRISQUE" not in text
    assert "opensr" not in text
    assert "FRR" in text
    titles = [axes.get_title() for axes in axes_of(plot(facts))]
    assert not any("BRISQUE" in title or "opensr" in title for title in titles)
    assert any("FRR" in title for title in titles)


def axes_of(figure):
    return [axes for part in figure.subfigs for axes in part.axes]


def test_table_has_each_scene_and_model(facts):
    scene = facts["scenes"]["part"]
    facts["scenes"]["other"] = scene
    lines = report(facts).splitlines()
    assert lines[0] == "part / other:"
    [row] = [line for line in lines if line.startswith("| Wald x2, gain over bicubic, 10 m bands (more")]
    gain = f"{scene['x2']['after']['gain10']:.2f}"
    assert row.endswith(f"| 0.00 / 0.00 dB | 0.00 / 0.00 dB | {gain} / {gain} dB |  |")
    [row] = [line for line in lines if "red edge (less is better)" in line]
    assert row.endswith("| 0.0 / 0.0 | -1.0 / -1.0 | -2.0 / -2.0 |  |")


def test_picture_goes_up_where_it_gets_better(facts):
    panels = {axes.get_title(): axes for axes in axes_of(plot(facts))}
    assert len(panels) == sum(map(len, SHOWN.values())) + len(finetuning.SPECTRA)
    scene = facts["scenes"]["part"]
    for name, measures, path in (panel for row in SHOWN.values() for panel in row):
        [asked] = [asked for asked in measures if asked.path == path]
        before, after = (figure_of(scene, asked, label) for label in ("before", "after"))
        axes = panels[name]
        line = axes.lines[0]
        assert list(line.get_ydata()) == [before, after]
        height = axes.transData.transform([(0, before), (1, after)])[:, 1]
        gained = asked.better * (after - before)
        assert np.sign(round(height[1] - height[0], 6)) == np.sign(gained)
        assert line.get_color() == {1: "#0072b2", -1: "#d55e00", 0: "#666666"}[int(np.sign(gained))]
    levels = [line.get_ydata() for line in panels["B07"].lines]
    assert not np.any(levels[0])
    assert np.mean(levels[1]) < -1


def test_command_measures_and_writes(part, monkeypatch, tmp_path, capsys):
    write_model(tmp_path, name="nearest")
    monkeypatch.setattr(finetuning, "available", list)
    monkeypatch.setattr(finetuning.scenes, "native", lambda *_: part)
    json_path, plot_path = tmp_path / "out/facts.json", tmp_path / "out/plot.png"
    arguments = [tmp_path / "nearest.json", "--base", "cubic_mtf", "--scene", "sample"]
    call(monkeypatch, *arguments, "--json", json_path, "--plot", plot_path)
    facts = json.loads(json_path.read_text())
    assert list(facts["weights"]) == ["cubic_mtf", "nearest"]
    assert list(facts["scenes"]) == ["sample"]
    assert report(facts) in capsys.readouterr().out
    assert plot_path.read_bytes().startswith(b"\x89PNG")


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["finetuning", *map(str, arguments)])
    finetuning.main()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: tuned"),
        (["cubic_mtf", "--base", "cubic_mtf"], "both models are called cubic_mtf"),
        (["edsr_2x32"], "T33UUB is in the data folder: say where that is"),
        (["none.json"], "none.json"),
        (["edsr_2x32", "--plot", "a.jpg"], "to end in .svg or .png"),
    ],
)
def test_mistakes_get_one_line(arguments, message, monkeypatch, capsys):
    monkeypatch.delenv("SUPERRES_DATA", raising=False)
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, *arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_page_says_what_the_file_says():
    facts = json.loads((publish.FIGURES / "finetuning.json").read_text(encoding="utf-8"))
    text = (publish.DOCS / "finetuning.md").read_text(encoding="utf-8")
    assert publish.filled(text, "finetuning", report(facts)) == text
    assert facts["judges"] == ["brisque", "opensr"]
    assert list(facts["scenes"]) == list(finetuning.scenes.DEVELOPMENT)


def test_what_the_page_concludes_is_in_its_figures():
    """Every measure of the picture that knows the truth gets worse, and every other one better."""
    facts = json.loads((publish.FIGURES / "finetuning.json").read_text(encoding="utf-8"))
    before, after = facts["weights"]
    for sign, row in zip((-1, 1), SHOWN.values(), strict=True):
        for _, measures, path in row:
            [asked] = [asked for asked in measures if asked.path == path]
            for scene in facts["scenes"].values():
                change = figure_of(scene, asked, after) - figure_of(scene, asked, before)
                assert sign * asked.better * change > 0, (path, change)
