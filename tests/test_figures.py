"""Figures go from the files of evaluate into the cards, and to no card of another model."""

import json
import shutil

import pytest

from openeo_superres import load_card
from training import figures

KEYS = ("rmse", "rmse10", "rmse20", "gain10", "gain20", "consistency")


def table_of(value):
    return {key: {"B02": value} if key == "rmse" else value for key in KEYS} | {
        "frr10": 10 * value,
        "ssim": {},
    }


@pytest.fixture
def card(nearest_card, tmp_path):
    """A model of a user's own, with figures of another scene."""
    for path in (nearest_card.path, nearest_card.path.with_suffix(".json")):
        shutil.copy(path, tmp_path)
    card = load_card(tmp_path / "nearest.json")
    figures.write_card(card, {}, {"elsewhere": {"x2": {}}})
    return load_card(tmp_path / "nearest.json")


@pytest.fixture
def facts(card):
    return {
        "scene": {"name": "T33UUB"},
        "models": {"mine": {"name": "nearest", "sha256": card.sha256}, "other": {"name": "b", "sha256": ""}},
        "wald": {
            protocol: {
                label: table_of(value + more) for label, value in (("bicubic", 1), ("mine", 2), ("other", 3))
            }
            for protocol, more in (("x2", 0), ("x4", 0.5))
        },
    }


def write(folder, facts):
    path = folder / "facts.json"
    path.write_text(json.dumps(facts))
    return path


def call(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["figures", *map(str, arguments)])
    figures.main()


def test_a_card_gets_its_own_figures_and_bicubics(card, facts, tmp_path, monkeypatch, capsys):
    path = card.path.with_suffix(".json")
    call(monkeypatch, write(tmp_path, facts), "--model", path)
    assert capsys.readouterr().out == f"{path}\n"
    written = load_card(path).figures
    assert list(written) == ["elsewhere", "T33UUB"]
    assert list(written["T33UUB"]) == ["x2", "x4"]
    for protocol, more in (("x2", 0), ("x4", 0.5)):
        assert list(written["T33UUB"][protocol]) == ["bicubic", "nearest"]
        for name, value in (("bicubic", 1 + more), ("nearest", 2 + more)):
            found = written["T33UUB"][protocol][name]
            assert found == {key: table_of(value)[key] for key in (*KEYS, "frr10")}
    # speed was not asked for
    assert load_card(path).speed is None


def test_the_same_file_twice_changes_nothing(card, facts, tmp_path, monkeypatch):
    path = card.path.with_suffix(".json")
    call(monkeypatch, write(tmp_path, facts), "--model", path)
    once = path.read_bytes()
    call(monkeypatch, write(tmp_path, facts), "--model", path)
    assert path.read_bytes() == once


def test_every_shipped_model_of_the_file_is_written(monkeypatch, tmp_path, facts):
    shipped = load_card("cubic_mtf")
    facts["models"]["other"] = {"name": "cubic_mtf", "sha256": shipped.sha256}
    written = []
    monkeypatch.setattr(figures, "write_card", lambda card, *_: written.append(card.name))
    call(monkeypatch, write(tmp_path, facts))
    assert written == ["cubic_mtf"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda facts: facts["models"]["mine"].update(sha256="0"), "are of other weights of nearest"),
        (lambda facts: facts["models"].pop("mine"), "have no model nearest"),
        (lambda facts: facts["wald"]["x4"].pop("mine"), "holds no facts that openeo-superres evaluate wrote"),
        (lambda facts: facts["wald"]["x4"]["bicubic"].pop("gain20"), "gain20 is missing"),
        (lambda facts: facts.pop("scene"), "holds no facts"),
    ],
    ids=["weights", "model", "label", "figure", "scene"],
)
def test_figures_of_another_kind_change_no_card(change, said, card, facts, tmp_path, monkeypatch, capsys):
    path = card.path.with_suffix(".json")
    before = path.read_bytes()
    change(facts)
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, write(tmp_path, facts), "--model", path)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '"x"', '{"wald": 1, "models": {}, "scene": {}}'])
def test_what_holds_no_facts(text, tmp_path):
    (tmp_path / "facts.json").write_text(text)
    with pytest.raises(ValueError, match="holds no facts that openeo-superres evaluate wrote"):
        figures.read_facts(tmp_path / "facts.json")
