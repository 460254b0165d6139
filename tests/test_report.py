"""The page of an evaluation: what stands in it, that it is sound, and that it needs nothing else."""

import base64
import copy
import hashlib
import io
import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib", reason="the evaluate extra is not installed: make setup")

from report_facts import HOSTILE, MODELS, make_facts, make_spectra, make_views, per_band

from openeo_superres.evaluate import glossary, pictures, plots, summary, trials
from openeo_superres.evaluate.protocols import error_figures
from openeo_superres.evaluate.report import View, build_report
from openeo_superres.picture import COMPOSITES, colours, stretch_limits
from openeo_superres.sensor import BAND_NAMES

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """Elements of a page; an error where tags are not balanced."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len({*names}), f"an attribute twice: {tag} {names}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append((self.open[-1] if self.open else None, data))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def within(self, tag):
        return "".join(data for where, data in self.text if where == tag)


@pytest.fixture(scope="module")
def views(image):
    return make_views(image)


@pytest.fixture(scope="module")
def html(views):
    return build_report(make_facts(), views, make_spectra())


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_the_page_is_sound(page):
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert max(ids.values()) == 1
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert page.all("title")
    controls = {attributes["id"] for tag in ("select", "input") for attributes in page.all(tag)}
    assert {attributes["for"] for attributes in page.all("label")} == controls
    assert all(attributes["alt"].strip() for attributes in page.all("img"))
    assert all(attributes["aria-label"] for attributes in page.all("svg"))
    assert all(attributes["scope"] in {"col", "row", "rowgroup"} for attributes in page.all("th"))
    referred = {attributes.get("aria-labelledby") for _, attributes in page.elements} - {None}
    assert referred <= {*ids}


def test_it_asks_nothing_of_anyone(html, page):
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            if name in {"src", "href", "srcset", "xlink:href", "action", "data", "poster"}:
                assert value.startswith(("data:", "#")), (tag, name, value[:60])
            assert not name.startswith("on"), (tag, name)
    style = page.within("style") + "".join(each.get("style", "") for _, each in page.elements)
    assert "@import" not in style
    assert re.findall(r"url\((?!#)", style) == []
    assert "fetch(" not in html
    policy = next(
        each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(page.within("script").encode()).digest()).decode()
    assert policy.split("; ")[:4] == [
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
    ]


def test_names_are_text(views):
    labels = ('"><img src=x onerror=alert(1)>', r"$\nonsense{$", "_hidden.v2 & 'co'")
    facts = make_facts(labels)
    facts["judges"] = {HOSTILE: {labels[0]: {HOSTILE: 1.0}}}
    facts["wald"][HOSTILE] = facts["wald"].pop("x4")
    views = [
        View(HOSTILE, HOSTILE, dict(zip(("bicubic", *labels), [*views[0].images.values()] * 2, strict=False)))
    ]
    spectra = {HOSTILE: make_spectra(labels)["x2"]}
    page = Page(build_report(facts, views, spectra))
    assert len(page.all("script")) == 1
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert all(attributes["src"].startswith("data:") for attributes in page.all("img"))
    for label in labels:
        assert label in page.within("option")
        assert label in page.within("th")
    assert HOSTILE in page.within("h3")


def test_the_same_page_in_another_process():
    code = (
        "import hashlib, report_facts as f; from openeo_superres.evaluate.report import build_report;"
        "print(hashlib.sha256(build_report(f.make_facts(), [], f.make_spectra()).encode()).hexdigest())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    here = build_report(make_facts(), [], make_spectra())
    assert found.stdout.strip() == hashlib.sha256(here.encode()).hexdigest()


def test_what_was_not_measured_is_left_out():
    page = Page(build_report({}, [], {}))
    assert "Not enough was measured" in page.within("p")
    assert not page.all("table")
    assert not page.all("svg")
    assert not page.all("select")
    nothing = dict.fromkeys(("scene", "software", "models", "wald", "native", "judges"))
    assert build_report(nothing, [], {}) == build_report({}, [], {})


def test_null_is_a_dash(views):
    facts = make_facts()
    facts["wald"]["x2"]["edsr"] = {
        key: dict.fromkeys(BAND_NAMES) if isinstance(value, dict) else None
        for key, value in facts["wald"]["x2"]["edsr"].items()
    }
    facts["wald"]["x4"] = facts["native"]["edsr"] = None
    facts["models"]["edsr"] = {}
    html = build_report(facts, views, {})
    text = Page(html).within
    assert not {"nan", "None"} & {*(text("td") + text("dd")).split()}


def cells(html, title, name):
    """Of a row in the table of results: text by column."""
    table = next(part for part in html.split("<table")[1:] if f"<caption>{title}</caption>" in part)
    columns = re.findall(r'<th scope="col">(.*?)</th>', table)
    row = next(row for row in table.split("<tr>") if f'<th scope="row">{name}' in row)
    return dict(zip(columns[1:], re.findall("<td>(.*?)</td>", row), strict=True))


def test_tables_have_the_figures(html):
    truth = "Against the truth: Wald x2"
    assert cells(html, truth, "Gain, 20 m bands") == {
        "bicubic": "0.00",
        "cubic_mtf": "4.00",
        "edsr": "6.00",
        "truth": "–",  # noqa: RUF001
    }
    assert cells(html, truth, "Rise")["truth"] == f"{np.mean(list(per_band(1.9).values())):.2f}"
    assert cells(html, truth, "Rise")["edsr"] == f"{np.mean(list(per_band(2.0).values())[:9]):.2f}"
    assert cells(html, truth, "Shift")["edsr"] == "0.050"
    assert cells(html, truth, "Bias")["edsr"] == "0.500"
    # means by resolution stand for that of all bands
    assert cells(html, truth, "RMSE, 10 m bands")["edsr"] == "80.0"
    assert '<th scope="row">RMSE <' not in html
    native = "At 5 m, against the input"
    assert cells(html, native, "Consistency")["bicubic"] == "30.45"
    assert cells(html, native, "NDWI")["edsr"] == "0.00120"


def test_judges_stand_beside(views):
    facts = make_facts()
    facts["judges"] = {"brisque": {"bicubic": {"true colour": 0.0}, "edsr": {"true colour": -3.25}}}
    html = build_report(facts, views, {})
    assert cells(html, "BRISQUE", "true colour") == {"bicubic": "0.000", "edsr": "−3.250"}  # noqa: RUF001
    assert "were not asked" not in html
    assert "were not asked" in build_report(make_facts(), [], {})


def test_the_limit_stands_wherever_a_wald_figure_is(html):
    sections = html.split("<h2 ")
    shown = [section for section in sections if "Wald x2" in section]
    assert len(shown) == 4
    assert all(summary.LIMIT in section for section in shown)


def test_bands_have_a_table_for_each_protocol(page, html):
    assert len(page.all("details")) == 4
    table = html.split("<summary>Wald x2</summary>")[1].split("</details>")[0]
    assert re.findall(r'<th scope="col">(.*?)</th>', table)[1:] == list(BAND_NAMES)
    assert table.count('scope="rowgroup"') == 7
    gains = table.split(">SSIM")[1].split("</tbody>")[0]
    assert re.findall("<td>(.*?)</td>", gains)[:2] == ["0.5000", "0.6000"]


def test_every_measure_that_is_taken_is_explained():
    known = {entry.path.split(".")[0] for entry in glossary.WALD}
    assert trials.WALD.keys() <= known
    scores = type(
        "Scores", (), {"rmse": np.ones(10), "consistency": np.ones(10), "mean_rmse": lambda *_: 1.0}
    )()
    assert error_figures(scores, scores).keys() <= known
    assert trials.NATIVE.keys() <= {entry.path.split(".")[0] for entry in glossary.NATIVE}
    assert all(len(entry.about) < 100 for entry in (*glossary.WALD, *glossary.NATIVE))


# ---- answers


def verdicts(facts):
    return {answer.question: answer.verdict for answer in summary.answers(facts)}


@pytest.mark.parametrize(("kept", "verdict"), [(7.9, "Yes"), (8.1, "No")])
def test_kept_is_below_the_sensors_noise(kept, verdict):
    facts = make_facts()
    facts["native"]["edsr"]["consistency"] = dict.fromkeys(BAND_NAMES, kept)
    assert verdicts(facts)[summary.KEPT] == verdict
    answers = summary.answers(facts)
    assert summary.lead(answers).startswith("As far as" if verdict == "Yes" else "In part")
    assert f"edsr {kept} DN" in answers[0].text
    assert "bicubic 30.4 DN" in answers[0].text


def test_what_is_not_as_good_is_said_at_once():
    facts = make_facts(("edsr",))
    native, row = facts["native"]["edsr"], facts["wald"]["x2"]["edsr"]
    native["noise_gain"] = 1.0
    assert "But" not in summary.lead(summary.answers(facts))
    native["noise_gain"] = 1.01
    row["shift"] = [0.0, 0.11]
    lead = summary.lead(summary.answers(facts))
    assert lead.endswith("But some results are shifted and noise comes out stronger than it went in.")
    assert verdicts(facts)[summary.IN_PLACE] == verdicts(facts)[summary.QUIET] == "No"
    row["shift"] = [0.0, 0.09]
    assert verdicts(facts)[summary.IN_PLACE] == "Yes"


def test_a_model_worse_than_bicubic_is_called_so():
    facts = make_facts(("edsr",))
    row = facts["wald"]["x2"]["edsr"]
    row["gain10"] = -1.0
    assert verdicts(facts)[summary.RECOVERED] == "In part"
    row["gain20"] = -2.0
    text = next(each.text for each in summary.answers(facts) if each.question == summary.RECOVERED)
    assert verdicts(facts)[summary.RECOVERED] == "No"
    assert "10 m bands: edsr 12 % higher (−1.0 dB)" in text  # noqa: RUF001
    facts["native"]["edsr"]["consistency"] = dict.fromkeys(BAND_NAMES, 9.0)
    assert summary.lead(summary.answers(facts)).startswith("No:")


def test_half_the_error_is_six_decibels():
    rows = {"bicubic": {"rmse": {"B02": 10.0}}, "edsr": {"rmse": {"B02": 5.0}}}
    assert glossary.gains(rows)["edsr"]["B02"] == pytest.approx(6.02, abs=0.01)
    facts = make_facts(("edsr",))
    facts["wald"]["x2"]["edsr"]["gain10"] = 6.02
    assert "edsr 50 % lower (6.0 dB)" in summary.answers(facts)[1].text


def test_the_baseline_decides_nothing_unless_alone():
    facts = make_facts()
    facts["wald"]["x2"]["cubic_mtf"]["gain10"] = -3.0
    assert verdicts(facts)[summary.RECOVERED] == "Yes"
    alone = make_facts(("cubic_mtf",))
    alone["wald"]["x2"]["cubic_mtf"]["gain10"] = -3.0
    assert verdicts(alone)[summary.RECOVERED] == "In part"


def test_the_hardest_case_is_named():
    facts = make_facts()
    facts["wald"]["x2 mild blur"] = copy.deepcopy(facts["wald"]["x2 mild blur"])
    facts["wald"]["x2 mild blur"]["edsr"]["gain10"] = -0.5
    answer = next(each for each in summary.answers(facts) if "as assumed" in each.question)
    assert answer.verdict == "In part"
    assert "x2 mild blur is the hardest" in answer.text


def test_many_models_are_told_by_the_ends():
    facts = make_facts(("a", "b", "c", "d"))
    facts["wald"]["x2"]["c"]["frr10"] = 20.0
    text = summary.answers(facts)[1].text
    assert "from 20 % (c) to 50 % (a)" in text
    assert "b 50" not in text


def test_nothing_is_known_at_5_m():
    for facts in ({}, make_facts()):
        assert summary.answers(facts)[-1].verdict == "Not known"
        assert summary.LIMIT in summary.answers(facts)[-1].text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (None, None),
        (float("nan"), None),
        (True, None),
        ("8", None),
        ([3.0, -4.0], 5.0),
        ([3.0, None], None),
        ({"B02": 1.0, "B03": None, "B04": -3.0}, -1.0),
        ({"B02": None}, None),
        ({"B02": [3, 4], "B03": [0, 1]}, 3.0),
    ],
)
def test_a_figure_as_one_number(value, expected):
    assert glossary.number(value) == expected


def test_the_size_of_errors_either_way():
    assert glossary.number({"B02": 1.0, "B03": -3.0}, size=True) == 2.0


def test_numbers_in_print():
    minus, dash = "\N{MINUS SIGN}", "\N{EN DASH}"
    given = [(-0.004, 2), (-1.5, 1), (None, 3), (0, 0), (-0.5, 0)]
    assert [glossary.shown(*each) for each in given] == ["0.00", f"{minus}1.5", dash, "0", "0"]


# ---- pictures


def decoded(picture):
    with Image.open(io.BytesIO(base64.b64decode(picture.data.split(",")[1]))) as opened:
        return np.asarray(opened.convert("RGB"))


def test_small_pictures_are_exact_with_one_stretch_for_all(views):
    drawn = pictures.gallery(views[0].images)
    assert drawn.error == 0
    assert len(drawn.pictures) == len(COMPOSITES) * len(views[0].images)
    bands = {
        composite.title: [BAND_NAMES.index(band) for band in composite.bands] for composite in COMPOSITES
    }
    for picture in drawn.pictures:
        chosen = bands[picture.composite]
        limits = stretch_limits(views[0].images["bicubic"][chosen])
        expected = colours(views[0].images[picture.label][chosen], limits)
        np.testing.assert_array_equal(decoded(picture), expected)
    assert pictures.gallery(views[0].images) == drawn


def test_nodata_is_black(views):
    images = {label: image.copy() for label, image in views[0].images.items()}
    images["edsr"][:, :5] = np.nan
    picture = next(each for each in pictures.gallery(images).pictures if each.label == "edsr")
    assert not decoded(picture)[:5].any()
    assert decoded(picture)[5:].any()


def test_pictures_that_can_not_be_drawn(views):
    base = views[0].images["bicubic"]
    for images in ({}, {"a": base, "b": base[:, 1:]}, {"a": base[:3]}):
        with pytest.raises(ValueError, match="Expected images of 10 bands and one shape"):
            pictures.gallery(images)
    with pytest.raises(ValueError, match="valid pixels in each band"):
        pictures.gallery({"a": np.where(np.arange(10)[:, None, None] == 4, np.float32(np.nan), base)})


def test_the_coarsest_encoding_is_taken_if_none_fits(views, monkeypatch):
    monkeypatch.setattr(pictures, "BUDGET", 10_000)
    drawn = pictures.gallery(views[0].images)
    assert len(drawn.pictures) == len(COMPOSITES) * len(views[0].images)
    assert drawn.error > 0


def test_six_models_stay_under_a_size(image):
    models = ("cubic_mtf", "edsr_2x32", "edsr_4x32", "edsr_6x48", "carn", "esrgan")
    views = make_views(image, models, 320, 256, noise=8)
    html = build_report(make_facts(models), views, make_spectra(models))
    assert len(html.encode()) < 1_500_000
    # no longer exact, and it says so
    assert 0 < pictures.gallery(views[0].images).error < 10
    assert "levels off" in html


# ---- plots


@pytest.fixture(scope="module")
def marks():
    return plots.marks(["bicubic", *MODELS, "truth"])


def test_marks_keep_results_apart(marks):
    assert marks["bicubic"].colour == plots.COLOURS[0]
    assert marks["truth"].colour == plots.COLOURS[1]
    many = plots.marks(["bicubic", *map(str, range(18)), "truth"])
    assert len({*many.values()}) == len(many)


def test_plots_are_the_same_each_time_and_apart_in_a_page(marks):
    rows = {label: per_band(2.0) for label in marks}
    one, again, other = (
        plots.by_band(rows, marks, name, unit="dB", alt="gains <&>") for name in ("a", "a", "b")
    )
    assert one == again
    ids, others = ({each["id"] for _, each in Page(svg).elements if "id" in each} for svg in (one, other))
    assert ids
    assert not ids & others
    assert {each.get("xlink:href", "#")[1:] for _, each in Page(one).elements} <= ids | {""}
    assert Page(one).all("svg")[0]["aria-label"] == "gains <&>"
    assert "<style" not in one
    assert "font-family" not in one


def dots(svg, mark):
    return len([each for each in Page(svg).all("use") if mark.colour in each.get("style", "")])


@pytest.mark.parametrize("log", [False, True])
def test_a_dot_for_each_value_that_is_known(marks, log):
    rows = {
        "edsr": {**per_band(2.0), "B03": None},
        "cubic_mtf": dict.fromkeys(BAND_NAMES),
        "unknown": per_band(1),
    }
    svg = plots.by_band(rows, marks, "a", unit="dB", alt="gains", log=log)
    assert dots(svg, marks["edsr"]) == 9
    assert dots(svg, marks["cubic_mtf"]) == 0
    assert all(f">{band}</text>" in svg for band in BAND_NAMES)


def test_no_logarithm_of_nothing(marks):
    svg = plots.by_band(
        {"edsr": {**per_band(2.0), "B03": 0.0}}, marks, "a", unit="DN", alt="errors", log=True
    )
    assert dots(svg, marks["edsr"]) == 9
    Page(plots.by_band({"edsr": dict.fromkeys(BAND_NAMES)}, marks, "a", unit="DN", alt="errors", log=True))


def test_protocols_side_by_side(marks):
    gains = {"edsr": {"x2": 1.0, HOSTILE: 2.0, "$x$": None}}
    svg = plots.by_protocol({"10 m": gains, "20 m": gains}, marks, "a", unit="dB", alt="gains")
    assert dots(svg, marks["edsr"]) == 4
    assert Page(svg).within("text").count("$x$") == 2
    assert Page(svg).within("text").count(HOSTILE) == 2


@pytest.mark.parametrize("bands", [4, 10])
def test_spectra_have_a_line_per_result_and_band(marks, bands):
    profiles = {label: rows[:bands] for label, rows in make_spectra()["x4"].items()}
    svg = plots.spectra(profiles, marks, "a", alt="spectra")
    lines = Counter(each.get("style", "")[-60:] for each in Page(svg).all("path"))
    for mark in marks.values():
        assert sum(
            count for style, count in lines.items() if f"stroke: {mark.colour}; stroke-width: 1.2" in style
        ) == (2 * bands)
    assert [band for band in BAND_NAMES if f">{band}</text>" in svg] == list(BAND_NAMES[:bands])


def test_long_spectra_are_drawn_as_means():
    profile = np.arange(4000.0)[None]
    drawn = plots._binned(profile)
    assert drawn.shape == (2, plots.POINTS)
    np.testing.assert_allclose(drawn[0], 49.5 + 100 * np.arange(plots.POINTS))
    # frequencies go with them
    np.testing.assert_allclose(drawn[1], (drawn[0] + 0.5) / 8000)
    np.testing.assert_array_equal(plots._binned(profile[:, :7])[0], profile[0, :7])
