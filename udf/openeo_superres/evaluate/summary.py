"""The figures in plain words: can these pixels be trusted?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openeo_superres.sensor import REFLECTANCE_SCALE

from .glossary import find, number, shown
from .models import BASELINE
from .protocols import LIMIT, MAIN
from .wald import NOISE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Rows = Mapping[str, Any]

STEADY = 0.1
"""Pixels by which an image may lie off without being called shifted: a third of the 0.3 to which the
sensor's own bands are registered to each other (mission requirement; ESA, Sentinel-2 User Handbook)."""
FEW = 3
"""Models that are named one by one."""
ROBUST = "Does that hold if the sensor is not quite as assumed?"
IN_PLACE = "Do things stay in their place?"
QUIET = "Is noise kept down?"
DOUBTS = {
    ROBUST: "it does not always hold if the sensor is not quite as assumed",
    IN_PLACE: "some results are shifted",
    QUIET: "noise comes out stronger than it went in",
}
"""What is to be said where the answer is not yes."""
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
        text = (
            "As far as this can be checked, yes: what the satellite measured is kept, and where the truth is "
            "known, the result comes closer to it than interpolation does. Detail finer than 10 m can't be "
            "checked: it is an inference, not a measurement."
        )
        doubts = [DOUBTS[question] for question in DOUBTS if verdicts.get(question, "Yes") != "Yes"]
        return f"{text} But {_listed(doubts)}." if doubts else text
    if both == {"No"}:
        return "No: what the satellite measured is not kept, and interpolation comes as close to the truth."
    return "In part. It depends on the model, and on what the pixels are for: the answers below say which."


def _listed(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))


def _spelled(values: Mapping[str, float], write: Callable[[float], str]) -> str:
    """Values with their labels: each of a few, the ends of many."""
    if len(values) <= FEW:
        return _listed([f"{label} {write(value)}" for label, value in values.items()])
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    return f"from {write(values[low])} ({low}) to {write(values[high])} ({high})"


def _in(unit: str, digits: int) -> Callable[[float], str]:
    return lambda value: f"{shown(value, digits)}{unit}"


def _verdict(good: Sequence[tuple[str, bool]]) -> str:
    """Of what is good or not, by label; the model without learning counts only if it is alone."""
    counted = [well for label, well in good if label != BASELINE] or [well for _, well in good]
    return "Yes" if all(counted) else "In part" if any(counted) else "No"


def _values(rows: Rows, labels: Sequence[str], path: str) -> dict[str, float]:
    """What is known of the labels."""
    values = {label: number(find(rows.get(label), path), size=True) for label in labels}
    return {label: value for label, value in values.items() if value is not None}


def _kept(rows: Rows, models: Sequence[str]) -> Answer | None:
    values = _values(rows, models, "consistency")
    if not values:
        return None
    text = (
        "Seen by the sensor again, the results differ from the input by, in the mean of the bands: "
        f"{_spelled(values, _in(' DN', 1))}{_beside(rows, 'consistency', _in(' DN', 1))}. "
        f"Kept is what differs by less than the sensor's own noise, about {NOISE:.0f} DN, "
        f"{NOISE / REFLECTANCE_SCALE:.4f} of reflectance."
    )
    return Answer(KEPT, _verdict([(label, value < NOISE) for label, value in values.items()]), text)


def _beside(rows: Rows, path: str, write: Callable[[float], str]) -> str:
    """Bicubic's figure, to compare with."""
    return "".join(f"; bicubic {write(value)}" for value in _values(rows, ["bicubic"], path).values())


def _recovered(rows: Rows, models: Sequence[str], protocol: str) -> Answer | None:
    gains = {size: _signed(rows, models, f"gain{size}") for size in (10, 20)}
    good = [(label, gain > 0) for known in gains.values() for label, gain in known.items()]
    if not good:
        return None
    text = (
        f"The scene was made coarser, super-resolved, and held against its real pixels (Wald {protocol}). "
        "The error, against bicubic's, is "
    )
    text += "; ".join(
        f"in the {size} m bands: {_spelled(known, _less)}" for size, known in gains.items() if known
    )
    if restored := _values(rows, models, "frr10"):
        text += ". Of the fine detail that bicubic loses in the 10 m bands, as much is back: "
        text += _spelled(restored, _in(" %", 0))
    return Answer(RECOVERED, _verdict(good), f"{text}.")


def _signed(rows: Rows, labels: Sequence[str], path: str) -> dict[str, float]:
    """What is known of the labels, with its sign."""
    values = {label: number(find(rows.get(label), path)) for label in labels}
    return {label: value for label, value in values.items() if value is not None}


def _less(gain: float) -> str:
    """A gain in dB as a share of the error."""
    share = 10 ** (-gain / 20) - 1
    return f"{abs(share):.0%} {'higher' if share > 0 else 'lower'} ({shown(gain, 1)} dB)".replace("%", " %")


def _robust(protocols: Mapping[str, Rows], models: Sequence[str]) -> Answer | None:
    gains = {protocol: _signed(rows, models, "gain10") for protocol, rows in protocols.items()}
    good = [(label, gain > 0) for known in gains.values() for label, gain in known.items()]
    if not good:
        return None
    lowest = {protocol: min(known.values()) for protocol, known in gains.items() if known}
    worst = min(lowest, key=lowest.__getitem__)
    text = (
        f"Of {len(lowest)} other cases, with other noise, another blur or a larger step, {worst} is the "
        f"hardest. The error of the 10 m bands, against bicubic's, is there: {_spelled(gains[worst], _less)}."
    )
    return Answer(ROBUST, _verdict(good), text)


def _in_place(rows: Rows, models: Sequence[str], protocol: str) -> Answer | None:
    values = _values(rows, models, "shift")
    if not values:
        return None
    text = f"Against the truth (Wald {protocol}) they lie off by, in pixels: {_spelled(values, _in('', 2))}. "
    text += f"Below {STEADY:g} counts as in place."
    verdict = _verdict([(label, value < STEADY) for label, value in values.items()])
    return Answer(IN_PLACE, verdict, text)


def _noise(rows: Rows, models: Sequence[str]) -> Answer | None:
    values = _values(rows, models, "noise_gain")
    if not values:
        return None
    write = _in(" times", 2)
    text = (
        "Where the ground is flat, the input's noise comes out, in the mean of the bands: "
        f"{_spelled(values, write)} as strong{_beside(rows, 'noise_gain', write)}."
    )
    return Answer(QUIET, _verdict([(label, value <= 1) for label, value in values.items()]), text)


def _unknown(facts: Mapping[str, Any]) -> Answer:
    text = (
        f"{LIMIT} What was found there is one or two scales up, on this scene; that it holds for "
        "5 m is assumed. Of single details finer than 10 m nobody knows whether they are true."
    )
    if not facts.get("judges"):
        text += " Judges made by others, BRISQUE and opensr-test, were not asked."
    return Answer("Is the detail at 5 m true?", "Not known", text)
