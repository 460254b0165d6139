"""Fine-tune a trained network against a discriminator (GAN), for more detail at some cost in error.

``L = L_pretrain + lambda L_G``: the loss of training on simulated pairs, through the consistency layer, and
the relativistic average loss of :mod:`training.adversarial`, with the network's outputs from *real* images
(Michel and Kalinicheva, SURE-DOS 2024).

What is real? There is no ten-band image at 5 m, so the outputs at 5 m are compared with the finest ten bands
that Sentinel-2 gives on one grid: at 20 m, the 10 m bands degraded to it, the 20 m bands as they are. That
scenes look alike at all these scales is an assumption, but one that was measured, as the RMS of the
standardised training images behind the high-pass filter, in B02, B03, B04, B08:

    real, 20 m                              .32  .25  .17  .23
    real, 10 m                              .33  .26  .17  .25
    edsr_4x32 of real images, 5 m           .25  .20  .13  .18
    edsr_4x32 of simulated images, 20 m     .23  .18  .13  .17

(and in the 20 m bands the outputs have two thirds of the real ones'). It is the sharpness that differs,
hardly the scale. So no statistics are matched, and the discriminator judges the ten bands together.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from torch import Tensor

from openeo_superres.sensor import BANDS, BANDS_10M

from . import degradation
from .adversarial import accuracy, discriminator_loss, generator_loss
from .arguments import positive
from .average import follow
from .checkpoint import read_checkpoint, write_checkpoint
from .datasets import Crops, Source, training_sources
from .discriminator import Discriminator
from .export import load_average, provenance
from .losses import loss_of
from .optimiser import Optimiser
from .pattern import PERIOD, phase_deviations
from .progress import gains_over_bicubic, reference_pair, sharpness, write_line
from .shrink import shrink

if TYPE_CHECKING:
    from openeo_superres.evaluate import WaldPair, WaldScores


PATTERN_SHARE = 0.05
"""Of a batch in the average pattern."""
METHOD = "GAN fine-tuning of a trained network: its loss, and a relativistic average GAN on real inputs"


@dataclass(frozen=True)
class Recipe:
    """What decides the result; stored in the checkpoint, and all but ``steps`` must agree to resume."""

    name: str
    steps: int
    adversarial: float = 0.005
    """lambda, the weight of the adversarial loss."""
    high_pass: bool = True
    batch: int = 16
    crop: int = 64
    rate: float = 2e-4
    """Of the network, constant after the warm-up, which leaves the discriminator ahead."""
    warmup: int = 100
    discriminator_rate: float = 1e-4
    """Low: the surer the discriminator, the more the network invents instead of sharpening."""
    features: int = 16
    smoothing: float = 0.1
    quarter: float = 1 / 3
    """Share of Wald x4 steps, as in training."""
    average: float = 0.998
    """Long: within 500 steps the gain on the 10 m bands swung by 0.3 dB with 0.995."""
    consistency: float = 2.0
    """Weight of the consistency error, as at the end of training."""
    pattern: float = 100.0
    """Weight of the square of what follows the grid. Without it the outputs at 5 m got a pattern of up
    to 35 DN in red edge bands, which BRISQUE took for texture."""
    seed: int = 0


class FineTuning:
    """A network with its moving average, a discriminator, their optimisers and the crops.

    Args:
        recipe: What decides the result.
        sources: What to train on.
        base: Checkpoint of ``training.train``, whose averaged weights are the start.

    Raises:
        ValueError: If the base is of another network.
    """

    def __init__(self, recipe: Recipe, sources: list[Source], base: Path) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.step = 0
        self.base = provenance(base)
        self.model = load_average(recipe.name, base)
        self.average = copy.deepcopy(self.model)
        self.optimiser = Optimiser(self.model)
        self.discriminator = Discriminator(recipe.features, high_pass=recipe.high_pass)
        self.adam = torch.optim.Adam(
            self.discriminator.parameters(), recipe.discriminator_rate, betas=(0.9, 0.99)
        )
        self.crops = Crops(sources, recipe.seed)
        # averaged, since a batch has patterns of its own
        self.deviations = torch.zeros(len(BANDS), PERIOD, PERIOD)

    def advance(self) -> dict[str, float]:
        """One step of each; gives the losses and the discriminator's accuracy."""
        recipe = self.recipe
        pair = degradation.drawn_pair(self.crops, recipe.batch, recipe.crop, recipe.quarter)
        real, fake = self.images()
        facts = {**self.teach_discriminator(real, fake), **self.teach_generator(pair, real, fake)}
        self.step += 1
        follow(self.average, self.model, self.step, recipe.average)
        return facts

    def images(self) -> tuple[Tensor, Tensor]:
        """Real ten bands at 20 m, and outputs at 5 m of real images of other places, standardised.

        Both are ``(batch, 10, crop / 2, crop / 2)``: crops that even the smallest sources hold without being
        mirrored, since symmetries would tell which ones are real. Of the outputs, which carry gradients, it
        is the middle, that sees the least of the zero padding.
        """
        batch, half = self.recipe.batch, self.recipe.crop // 2
        fine, coarse = self.crops.draw(batch, 2 * half)
        real = torch.cat([degradation.degrade(fine, BANDS_10M, 2), coarse], dim=1)
        fine, coarse = self.crops.draw(batch, half)
        replicated = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        middle = slice(half // 2, half // 2 + half)
        fake = self.model(torch.cat([fine, replicated], dim=1))[..., middle, middle]
        return tuple((image - self.model.mean) / self.model.std for image in (real, fake))

    def teach_discriminator(self, real: Tensor, fake: Tensor) -> dict[str, float]:
        """One step of the discriminator."""
        logits = self.discriminator.judge(real, fake.detach())
        loss = discriminator_loss(*logits, self.recipe.smoothing)
        loss.backward()
        self.adam.step()
        self.adam.zero_grad()
        return {"discriminator": loss.item(), "accuracy": accuracy(*logits)}

    def teach_generator(self, pair: degradation.Pair, real: Tensor, fake: Tensor) -> dict[str, float]:
        """One step of the network, whose outputs ``fake`` are."""
        recipe = self.recipe
        loss = loss_of(self.model, pair, recipe.consistency)
        with torch.no_grad():
            judged = self.discriminator(real)
        adversarial = generator_loss(judged, self.discriminator(fake))
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        deviations = phase_deviations(fake)
        self.deviations.lerp_(deviations.detach(), PATTERN_SHARE)
        pattern = (self.deviations * deviations).mean()
        total = loss + recipe.adversarial * adversarial + recipe.pattern * pattern
        total.backward(inputs=trained)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        self.optimiser.step(recipe.rate * min(1, (self.step + 1) / recipe.warmup))
        return {"loss": loss.item(), "adversarial": adversarial.item(), "pattern": pattern.item()}

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        adam = self.adam.state_dict()["state"]
        parts = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state(),
            "pattern": {"deviations": self.deviations},
            "discriminator": self.discriminator.state_dict(),
            "adam": {f"{i}.{key}": value for i, values in adam.items() for key, value in values.items()},
        }
        state = {
            "method": METHOD,
            "step": self.step,
            "recipe": asdict(self.recipe),
            "sources": {source.name: source.weight for source in self.crops.sources},
            "base": self.base,
            "generator": self.crops.generator.bit_generator.state,
        }
        write_checkpoint(path, parts, state)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint, bit by bit.

        Raises:
            ValueError: If it was made with another recipe, from another base, or by no fine-tuning.
        """
        parts, state = read_checkpoint(path)
        if "discriminator" not in parts:
            raise ValueError(f"{path} holds no discriminator to go on with: use another --output.")
        theirs = {**state["recipe"], "steps": self.recipe.steps}
        if theirs != asdict(self.recipe) or state["base"] != self.base:
            raise ValueError(
                f"{path} was made with {state['recipe']} from {state['base']}, now {asdict(self.recipe)} "
                f"from {self.base} is asked: use the same options (but --steps), or another --output."
            )
        self.model.load_state_dict(parts["model"])
        self.average.load_state_dict(parts["average"])
        self.optimiser.load(parts["optimiser"])
        self.discriminator.load_state_dict(parts["discriminator"])
        self.deviations = parts["pattern"]["deviations"]
        adam: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["adam"].items():
            index, key = name.split(".")
            adam.setdefault(int(index), {})[key] = value
        self.adam.load_state_dict({**self.adam.state_dict(), "state": adam})
        self.step = state["step"]
        self.crops.generator.bit_generator.state = state["generator"]


def parsed() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Arguments of the command line, and what tells of mistakes in them."""
    parser = argparse.ArgumentParser(prog="python -m training.finetune", description=__doc__.split("\n")[0])
    parser.add_argument("name", help="network, such as edsr_4x32")
    parser.add_argument("--checkpoint", type=Path, required=True, help="to start from, of training.train")
    parser.add_argument("--data", type=Path, default=os.environ.get("SUPERRES_DATA"), help="data folder")
    parser.add_argument(
        "--output", type=Path, help="folder of checkpoint, candidates and log (default: runs/NAME_gan)"
    )
    parser.add_argument("--steps", type=positive(int), default=1500)
    parser.add_argument(
        "--adversarial", type=positive(float), default=Recipe.adversarial, help="lambda (public: .005 to .01)"
    )
    parser.add_argument(
        "--no-high-pass", action="store_true", help="the discriminator sees the whole image, not its details"
    )
    parser.add_argument("--batch", type=positive(int), default=Recipe.batch)
    parser.add_argument("--rate", type=positive(float), default=Recipe.rate)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=positive(int), default=os.cpu_count())
    parser.add_argument("--every", type=positive(int), default=250, help="steps between candidates")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("say where the data folder is: --data, or environment variable SUPERRES_DATA")
    return parser, arguments


def main() -> None:
    """Entry point."""
    parser, arguments = parsed()
    torch.set_num_threads(arguments.threads)
    options = {key: getattr(arguments, key) for key in ("adversarial", "batch", "rate", "seed")}
    recipe = Recipe(arguments.name, arguments.steps, high_pass=not arguments.no_high_pass, **options)
    output = arguments.output or Path("runs") / f"{arguments.name}_gan"
    checkpoint = output / "checkpoint.safetensors"
    try:
        tuning = FineTuning(recipe, training_sources(arguments.data), arguments.checkpoint)
        if checkpoint.exists():
            tuning.load(checkpoint)
            print(f"resumed from {checkpoint} at step {tuning.step}", flush=True)
        (output / "candidates").mkdir(parents=True, exist_ok=True)
        if tuning.step == 0:
            start = output / "candidates/step_000000.safetensors"
            tuning.save(start)
            shrink(start, start)
        run(tuning, output, arguments.every, reference_pair(arguments.data))
    except (ValueError, OSError, SafetensorError) as error:
        parser.error(" ".join(str(error).split()))
    except KeyboardInterrupt:
        parser.exit(130, f"stopped; the same command goes on from {checkpoint}\n")


def run(tuning: FineTuning, output: Path, every: int, measured: tuple[WaldPair, WaldScores] | None) -> None:
    """Tune to the last step; after each ``every`` steps a checkpoint, a candidate and a line of the log."""
    started, facts = time.monotonic(), []
    while tuning.step < tuning.recipe.steps:
        facts.append(tuning.advance())
        if tuning.step % every == 0 or tuning.step == tuning.recipe.steps:
            tuning.save(output / "checkpoint.safetensors")
            candidate = output / f"candidates/step_{tuning.step:06}.safetensors"
            shrink(output / "checkpoint.safetensors", candidate)
            means = {key: round(sum(row[key] for row in facts) / len(facts), 5) for key in facts[0]}
            line = {"step": tuning.step, **means, "seconds": round(time.monotonic() - started)}
            if measured:
                line |= gains_over_bicubic(tuning.average, *measured)
                line["sharpness"] = round(sharpness(tuning.average, measured[0]), 3)
            facts.clear()
            write_line(output / "log.jsonl", line)


if __name__ == "__main__":
    main()
