"""What memory a network takes, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openeo_superres.card import ModelCard

EDGE = 384
"""Of the square image that is run, in 10 m pixels."""
SCRIPT = """
import sys
import numpy as np
from openeo_superres.card import load_card

def peak():
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmPeak"))

card, edge = load_card(sys.argv[1]), int(sys.argv[2])
model = card.open(provider="cpu", threads=1)
image = np.zeros((1, len(card.bands), edge, edge), np.float32)
before = peak()
model.run(image)
print(peak() - before)
"""


def bytes_per_pixel(card: ModelCard, edge: int = EDGE) -> int:
    """Peak virtual memory that running a model adds, over the 10 m pixels computed. Linux only.

    Virtual, since that is what Spark limits: onnxruntime takes it in ever larger pieces, some in vain.

    Raises:
        RuntimeError: If the process fails.
    """
    command = [sys.executable, "-c", SCRIPT, str(card.path.with_suffix(".json")), str(edge)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise RuntimeError(f"{card.name} can't be run: {reason}")
    return round(int(done.stdout) / edge**2)
