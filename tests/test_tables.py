"""Figures that people read are those of the cards."""

import pytest

from openeo_superres import list_models, load_card
from training import tables
from training.figures import card_figures, read_facts
from training.tables import BEGIN, END

FILES = sorted((tables.MODELS / "figures").glob("*.json"))
"""What evaluate wrote."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_cards_say_what_evaluate_wrote(path):
    facts = read_facts(path)
    assert facts["scene"]["name"] == path.stem
    # all of it: figures of parts are no figures of the scene
    assert facts["scene"]["window"] == [0, 0, *facts["scene"]["size"]]
    for model in facts["models"].values():
        card = load_card(model["name"])
        assert card.figures[path.stem] == card_figures(facts, card), "python -m training.figures"


def test_documents_say_what_the_cards_say():
    for path, text in tables.documents().items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: python -m training.tables"


def test_overview_has_a_row_for_each_model_the_quickest_first():
    cards = [load_card(name) for name in list_models()]
    head, _, bicubic, *rows = (line.strip("| ").split(" | ") for line in tables.overview(cards).splitlines())
    assert bicubic[0] == "bicubic"
    assert sorted(row[0].strip("`") for row in rows) == list_models()
    speeds = [float(row[head.index("kpx/s")].replace(",", "")) for row in rows]
    assert speeds == sorted(speeds, reverse=True)
    for row in rows:
        card = load_card(row[0].strip("`"))
        for scene, protocols in card.figures.items():
            for group in (10, 20):
                gain = protocols["x2"][card.name][f"gain{group}"]
                assert row[head.index(f"{group} m bands, {scene}")] == f"{gain:+.2f} dB"


def test_table_by_band_has_the_rmse_of_the_card():
    card = load_card("edsr_4x32")
    scene = next(iter(card.figures))
    *_, last = tables.by_band([card], scene).splitlines()
    cells = last.strip("| ").split(" | ")
    rmse = card.figures[scene]["x2"]["edsr_4x32"]["rmse"]
    assert cells[1:11] == [f"{value:.1f}" for value in rmse.values()]


def test_only_what_stands_between_the_marks_is_replaced():
    once = tables.filled(f"before\n{BEGIN}\nold\n{END}\nafter", "new")
    assert once == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter"
    assert tables.filled(once, "new") == once


@pytest.mark.parametrize("text", ["nothing", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_marks_must_be_there(text):
    with pytest.raises(ValueError, match="Expected one"):
        tables.filled(text, "new")
