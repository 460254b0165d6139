"""Judges with an environment of their own: BRISQUE and opensr-test.

Neither installs beside this package: one needs an older numpy, the other drags in CUDA and CLIP. So each runs
in another interpreter, which reads arrays from files and answers in JSON. A checkout has them in
``.venv-brisque`` and ``.venv-opensr`` (``make brisque-setup opensr-setup``); elsewhere the environment
variables ``SUPERRES_BRISQUE`` and ``SUPERRES_OPENSR`` name an interpreter.

BRISQUE (Mittal, Moorthy and Bovik, 2012) needs no truth: it tells by local statistics how far a picture is
from natural photographs, 0 to about 100, less is better. It was made for pictures of another kind: only
differences to bicubic on one image mean something, and only while the radiometry is kept.

opensr-test (Aybar et al., 2024) knows the truth, and so says nothing of 5 m. Before it judges, it takes out
differences of histogram and position to the truth: what it calls consistency belongs beside its correctness.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openeo_superres.errors import JudgeError
from openeo_superres.picture import COMPOSITES, colours, stretch_limits
from openeo_superres.sensor import BAND_NAMES, BANDS, BANDS_10M, REFLECTANCE_SCALE

from .baseline import bicubic
from .wald import wald_truth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from .baseline import Image
    from .wald import WaldPair

CHECKOUT = Path(__file__).parents[3]
"""Where the environments are made; of an installed package, a folder that has none."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A program in another interpreter."""

    title: str
    folder: str
    """Of its environment in a checkout."""
    variable: str
    """Environment variable that names its interpreter elsewhere."""
    target: str
    """Of make: what sets it up."""
    script: str
    """Python: paths of arrays in, JSON in the last line of what it prints."""

    @property
    def interpreter(self) -> Path:
        """The Python to run it in, which may not be there."""
        named = os.environ.get(self.variable)
        return Path(named) if named else CHECKOUT / self.folder / "bin/python"

    def ask(self, arrays: Sequence[NDArray[Any]], interpreter: Path | None = None) -> Any:
        """Run the script on arrays.

        Raises:
            JudgeError: If its environment is not there, or it fails.
        """
        python = interpreter or self.interpreter
        if not python.exists():
            raise JudgeError(
                f"{self.title} has an environment of its own, and {python} is not there: run "
                f"make {self.target} in a checkout, and elsewhere name its interpreter in {self.variable}"
            )
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, f"{index}.npy") for index in range(len(arrays))]
            for path, array in zip(paths, arrays, strict=True):
                np.save(path, array)
            command = [str(python), "-W", "ignore", "-c", self.script, *map(str, paths)]
            result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        try:
            result.check_returncode()
            return json.loads(result.stdout.splitlines()[-1])
        except (subprocess.CalledProcessError, IndexError, ValueError) as error:
            reason = result.stderr.strip().rpartition("\n")[2] or f"it answered {result.stdout!r}"
            raise JudgeError(f"{self.title} failed in the environment of {python}: {reason}") from error


BRISQUE = Judge(
    "BRISQUE",
    ".venv-brisque",
    "SUPERRES_BRISQUE",
    "brisque-setup",
    """
import json, sys
import numpy
from brisque import BRISQUE

judge = BRISQUE(url=False)
print(json.dumps([float(judge.score(numpy.load(path))) for path in sys.argv[1:]]))
""",
)
# its distances between features need packages that are left out (requirements/opensr-bare.txt): stand-ins, so
# that it can be imported without them
OPENSR = Judge(
    "opensr-test",
    ".venv-opensr",
    "SUPERRES_OPENSR",
    "opensr-setup",
    """
import json, sys, types
import numpy, torch

for name in ("satalign.lgm", "satalign.lightglue"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["satalign.lgm"].LGM = None
import opensr_test

lr, hr, *outputs = (torch.from_numpy(numpy.load(path)) for path in sys.argv[1:])
metrics = opensr_test.Metrics(opensr_test.Config())
print(json.dumps([metrics.compute(lr=lr, sr=sr, hr=hr) for sr in outputs]))
""",
)
JUDGES = {"brisque": BRISQUE, "opensr": OPENSR}
"""By their name among the facts of an evaluation."""
OPENSR_NAMES = {
    "reflectance": "reflectance",
    "spectral": "spectral",
    "spatial": "spatial",
    "synthesis": "synthesis",
    "im_metric": "improvement",
    "om_metric": "omission",
    "ha_metric": "hallucination",
}
"""What opensr-test answers, by our words for it."""
DARKEST = 1e-4
"""Reflectance that lower ones are raised to: their normalised differences make no sense."""
SIZE = 512
"""10 m pixels that BRISQUE looks at along each side, in the middle of an image."""
WALD_SIZE = 512
"""The same of opensr-test, in pixels of the input's 10 m bands; it then takes 0.8 GB."""


def available() -> list[str]:
    """Names of the judges whose environment is there."""
    return [name for name, judge in JUDGES.items() if judge.interpreter.exists()]


def brisque(pictures: Sequence[NDArray[np.uint8]], interpreter: Path | None = None) -> list[float]:
    """BRISQUE of each picture ``(y, x, 3)``.

    Args:
        pictures: Red, green, blue, 8 bits.
        interpreter: Of the environment to compute it in.

    Raises:
        JudgeError: If the environment is not there, or BRISQUE fails there.
    """
    scores: list[float] = BRISQUE.ask(pictures, interpreter)
    return scores


def opensr(
    lr: Image, outputs: Sequence[Image], hr: Image, interpreter: Path | None = None
) -> list[dict[str, float]]:
    """What opensr-test says of each output, with its default settings; 16 pixels of its border are left out.

    Args:
        lr: The input ``(bands, y, x)`` in DN, three bands or more.
        outputs: ``(bands, scale * y, scale * x)`` in DN.
        hr: The truth on the outputs' grid.
        interpreter: Of the environment to compute it in.

    Returns:
        For each output, against the input after averaging to its grid: ``reflectance`` (mean absolute
        difference, reflectance), ``spectral`` (angle in degrees) and ``spatial`` (shift in its pixels; NaN if
        it finds none); against the input after bilinear interpolation: ``synthesis`` (mean absolute
        difference, what was added, true or not); and how near it is to the truth, to the input and to
        neither: ``improvement``, ``omission`` and ``hallucination``, which sum to 1.

    Raises:
        JudgeError: If the environment is not there, or opensr-test fails there.
    """
    arrays = [np.maximum(image / np.float32(REFLECTANCE_SCALE), DARKEST) for image in (lr, hr, *outputs)]
    answers = OPENSR.ask([array.astype(np.float32) for array in arrays], interpreter)
    return [{name: answer[theirs] for theirs, name in OPENSR_NAMES.items()} for answer in answers]


def pictures(output: Image, image: Image) -> list[NDArray[np.uint8]]:
    """Composites of an output ``(10, y, x)``, 8 bits, as the percentiles of its *input* stretch them."""
    indices = [[BAND_NAMES.index(band) for band in composite.bands] for composite in COMPOSITES]
    return [colours(output[rows], stretch_limits(image[rows])) for rows in indices]


def judge_native(outputs: Mapping[str, Image], image: Image) -> dict[str, dict[str, float]]:
    """BRISQUE of outputs at 5 m less bicubic's, by composite: below 0, they look more natural.

    Args:
        outputs: By label, ``(10, 2y, 2x)`` DN.
        image: Their input ``(10, y, x)`` DN, 20 m bands replicated, all pixels valid; of larger ones the
            middle is looked at, :data:`SIZE` pixels.

    Returns:
        By label, "bicubic" first, and title of the composite.

    Raises:
        JudgeError: If BRISQUE's environment is not there, or BRISQUE fails there.
    """
    middle = _middle(image, SIZE)
    every = {"bicubic": bicubic(image), **outputs}
    shown = [pictures(_middle(output, SIZE, 2), middle) for output in every.values()]
    scores = np.array(brisque([picture for row in shown for picture in row])).reshape(len(every), -1)
    titles = [composite.title for composite in COMPOSITES]
    # 0.0: there is no negative zero in tables
    differences = (scores - scores[0]).round(2) + 0.0
    return {
        label: dict(zip(titles, row, strict=True))
        for label, row in zip(every, differences.tolist(), strict=True)
    }


def judge_wald(
    pair: WaldPair, outputs: Mapping[str, Image], resolution: int = 10
) -> dict[str, dict[str, float]]:
    """What opensr-test says of predictions for a Wald pair: :func:`opensr` by label.

    Args:
        pair: Scene and truth; of larger ones the middle is looked at, :data:`WALD_SIZE` pixels.
        outputs: By label, ``(10, 2y, 2x)`` DN for ``pair.input``.
        resolution: Bands that are judged: the 10 m bands, twice as fine as the input's; or the 20 m bands,
            four times as fine, which a pair of factor 4 alone has a truth for.

    Returns:
        By label, "bicubic" first, the floor, and "truth" last, the ceiling: on smooth scenes both are near.
        A shift that is not found is left out.

    Raises:
        ValueError: If there is no truth for these bands.
        JudgeError: If the environment is not there, or opensr-test fails there.
    """
    truth = wald_truth(pair)
    rows = [index for index, band in enumerate(BANDS) if band.resolution == resolution]
    if not rows or len(truth) <= rows[-1]:
        raise ValueError(f"A pair of factor {pair.factor} has no truth for bands of {resolution} m.")
    step = resolution // BANDS_10M[0].resolution
    every = {"bicubic": bicubic(pair.input), **outputs, "truth": truth}
    lr = _middle(pair.input[rows], WALD_SIZE)[:, ::step, ::step]
    fine = [_middle(output[rows], WALD_SIZE, 2) for output in every.values()]
    answers = opensr(lr, fine, fine[-1])
    return {
        label: {name: round(value, 4) for name, value in answer.items() if np.isfinite(value)}
        for label, answer in zip(every, answers, strict=True)
    }


def _middle(image: Image, size: int, scale: int = 1) -> Image:
    """The middle of an image that is ``scale`` times as fine as the input: ``size`` pixels of the input."""
    # a multiple of 4: all bands begin there, of inputs at 80 m, too
    row, column = (scale * (max(0, n // scale - size) // 2 // 4 * 4) for n in image.shape[-2:])
    return image[..., row : row + scale * size, column : column + scale * size]
