"""Kinds of arguments that several command lines take."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    """Argument type: a finite number above 0."""

    def parse(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
        return value

    return parse
