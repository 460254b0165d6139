"""The figures in plain words: can these pixels be trusted?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .glossary import find, number, shown
from .protocols import MAIN
from .wald import NOISE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Rows = Mapping[str, Any]

STEADY = 0.1
"""Pixels by which an image may lie off without being called shifted."""
LIMIT = "No Wald figure proves anything at 5 m, where Sentinel-2 has no reference."
KEPT = "Is what the satellite measured kept?"
RECOVERED = "Is true detail recovered, where that can be checked?"


@dataclass(frozen=True, slots=True)
class Answer:
    """To one of a reader's questions."""

    question: str
    verdict: str
    """"Yes", "No", "In part" or "Not known"."""
    text: str


def main_protocol(facts: Mapping[str, Any]) -> str:
    """The protocol that the page looks at first; empty if there is none."""
    protocols = facts.get("wald") or {}
    return MAIN if MAIN in protocols else next(iter(protocols), "")


def answers(facts: Mapping[str, Any]) -> list[Answer]:
    """What the figures say of the models, question by question; the last one is what they can't say."""
    models = list(facts.get("models") or {})
    main = main_protocol(facts)
    wald = facts.get("wald") or {}
    rows, native = wald.get(main) or {}, facts.get("native") or {}
    others = {protocol: table or {} for protocol, table in wald.items() if protocol != main}
    found = [
        _kept(native, models) or _kept(rows, models),
        _recovered(rows, models, main),
        _robust(others, models),
        _in_place(rows, models, main),
        _noise(native, models),
    ]
    return [*filter(None, found), _unknown(facts)]


def lead(found: Sequence[Answer]) -> str:
    """The answers in a sentence or two."""
    verdicts = {answer.question: answer.verdict for answer in found}
    both = {verdicts.get(KEPT), verdicts.get(RECOVERED)}
    if None in both:
        return "Not enough was measured to say how far these pixels can be trusted."
    if both == {"Yes"}:
        return (
            "As far as this can be checked, yes: what the satellite measured is kept, and where the truth is "
            "known, the result comes closer to it than interpolation does. Detail finer than 10 m can't be "
            "checked: it is an inference, not a measurement."
        )
    if both == {"No"}:
        return "No: what the satellite measured is not kept, and interpolation comes as close to the truth."
    return "In part. It depends on the model, and on what the pixels are for: the answers below say which."


def _listed(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))


def _verdict(good: Sequence[bool]) -> str:
    return "Yes" if all(good) else "In part" if any(good) else "No"


def _values(rows: Rows, labels: Sequence[str], path: str) -> dict[str, float]:
    """What is known of the labels."""
    values = {label: number(find(rows.get(label), path), size=True) for label in labels}
    return {label: value for label, value in values.items() if value is not None}


def _named(texts: Mapping[str, str]) -> str:
    """Texts of one model or several, with their names."""
    return _listed([f"{label} {text}" for label, text in texts.items()])


def _figures(values: Mapping[str, float], unit: str, digits: int) -> str:
    return _named({label: f"{shown(value, digits)}{unit}" for label, value in values.items()})


def _kept(rows: Rows, models: Sequence[str]) -> Answer | None:
    values = _values(rows, models, "consistency")
    if not values:
        return None
    base = _values(rows, ["bicubic"], "consistency")
    text = (
        "Seen by the sensor again, the results differ from the input by (mean of the bands): "
        f"{_figures(base | values, ' DN', 1)}. The sensor's own noise is about {NOISE:.0f} DN, "
        f"{NOISE / 10_000:.4f} of reflectance."
    )
    return Answer(KEPT, _verdict([value < NOISE for value in values.values()]), text)


def _recovered(rows: Rows, models: Sequence[str], protocol: str) -> Answer | None:
    texts, good = {}, []
    for label in models:
        gains = {size: number(find(rows.get(label), f"gain{size}")) for size in (10, 20)}
        known = {size: gain for size, gain in gains.items() if gain is not None}
        good += [gain > 0 for gain in known.values()]
        if known:
            texts[label] = _listed([f"{_less(gain)} in the {size} m bands" for size, gain in known.items()])
    if not texts:
        return None
    text = (
        f"The scene was made coarser, super-resolved, and held against its real pixels (Wald {protocol}). "
        f"The error is, against bicubic's: {'; '.join(f'{label} {text}' for label, text in texts.items())}."
    )
    if restored := _values(rows, models, "frr10"):
        text += " Of the fine detail that bicubic loses in the 10 m bands, as much is back: "
        text += f"{_figures(restored, ' %', 0)}."
    return Answer(RECOVERED, _verdict(good), text)


def _less(gain: float) -> str:
    """A gain in dB as a share of the error."""
    share = 10 ** (-gain / 20) - 1
    return f"{abs(share):.0%} {'higher' if share > 0 else 'lower'} ({shown(gain, 1)} dB)"


def _robust(protocols: Mapping[str, Rows], models: Sequence[str]) -> Answer | None:
    gains = {
        label: [
            (gain, protocol)
            for protocol, rows in protocols.items()
            if (gain := number(find(rows.get(label), "gain10"))) is not None
        ]
        for label in models
    }
    worst = {label: min(known) for label, known in gains.items() if known}
    if not worst:
        return None
    texts = {label: f"{shown(gain, 1)} dB ({protocol})" for label, (gain, protocol) in worst.items()}
    text = (
        "With other noise, a sharper or a blunter sensor, or a larger step, the lowest gain over bicubic "
        f"in the 10 m bands is: {_named(texts)}."
    )
    verdict = _verdict([gain > 0 for gain, _ in worst.values()])
    return Answer("Does that hold if the sensor is not quite as assumed?", verdict, text)


def _in_place(rows: Rows, models: Sequence[str], protocol: str) -> Answer | None:
    values = _values(rows, models, "shift")
    if not values:
        return None
    text = f"Against the truth (Wald {protocol}) they lie off by, in pixels: {_figures(values, '', 2)}."
    verdict = _verdict([value < STEADY for value in values.values()])
    return Answer("Do things stay in their place?", verdict, text)


def _noise(rows: Rows, models: Sequence[str]) -> Answer | None:
    values = _values(rows, models, "noise_gain")
    if not values:
        return None
    base = _values(rows, ["bicubic"], "noise_gain")
    text = (
        "Where the ground is flat, noise comes out stronger or weaker than it went in, by a factor of: "
        f"{_figures(base | values, '', 2)}."
    )
    return Answer("Is noise kept down?", _verdict([value <= 1 for value in values.values()]), text)


def _unknown(facts: Mapping[str, Any]) -> Answer:
    text = (
        f"{LIMIT} What was found there is one or two scales up, on this scene; that it holds for "
        "5 m is assumed. Of single details finer than 10 m nobody knows whether they are true."
    )
    if not facts.get("judges"):
        text += " Judges made by others, BRISQUE and opensr-test, were not asked."
    return Answer("Is the detail at 5 m true?", "Not known", text)
