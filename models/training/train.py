"""Train a network on simulated pairs of real Sentinel-2 data. It can be stopped and resumed at any time."""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from openeo_superres.evaluate import WaldPair, WaldScores, bicubic_scores, gain_db, wald_pair, wald_scores

from . import degradation
from .datasets import Crops, Source, development_scene, training_sources
from .losses import loss_of
from .networks import SuperResolver, build
from .optimiser import Optimiser
from .recipe import Recipe, rate_at

if TYPE_CHECKING:
    from collections.abc import Callable


class Training:
    """A network with its moving average, optimiser and crops: what a checkpoint holds.

    Args:
        recipe: What decides the result.
        sources: What to train on.

    Raises:
        ValueError: If the network is unknown, or has nothing to learn.
    """

    def __init__(self, recipe: Recipe, sources: list[Source]) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.step = 0
        self.model = build(recipe.name)
        if not self.model.parameter_count:
            raise ValueError(f"{recipe.name} has nothing to learn: export it as it is.")
        if recipe.precision == "bfloat16":
            network = self.model.network
            network.forward = torch.autocast("cpu", torch.bfloat16)(network.forward)
        self.average = build(recipe.name)
        self.average.load_state_dict(self.model.state_dict())
        self.optimiser = Optimiser(self.model)
        self.crops = Crops(sources, recipe.seed)

    def advance(self) -> float:
        """One step; gives its loss."""
        recipe = self.recipe
        generator = self.crops.generator
        quarter = generator.random() < recipe.quarter
        size = 2 * recipe.crop if quarter else recipe.crop
        pair = degradation.wald_pair(*self.crops.draw(recipe.batch, size), 4 if quarter else 2, generator)
        settles = self.step >= recipe.settles
        loss = loss_of(self.model, pair, recipe.final_consistency if settles else recipe.consistency)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step(rate_at(self.step, recipe))
        self.step += 1
        decay = min(recipe.average, self.step / (self.step + 10))
        with torch.no_grad():
            for mean, parameter in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(parameter, 1 - decay)
        return loss.item()

    def save(self, path: Path) -> None:
        """Write the checkpoint beside, then rename: one is always whole."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        tensors |= {f"optimiser.{k}": v for k, v in self.optimiser.state().items()}
        state = {
            "step": self.step,
            "recipe": asdict(self.recipe),
            "sources": {source.name: source.weight for source in self.crops.sources},
            "generator": self.crops.generator.bit_generator.state,
        }
        part = path.with_suffix(".part")
        save_file(
            {k: v.contiguous() for k, v in tensors.items()}, part, metadata={"state": json.dumps(state)}
        )
        part.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint, whole or as :mod:`training.shrink` leaves it.

        Raises:
            ValueError: If it was made with another recipe.
        """
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            theirs = Recipe(**state["recipe"])
            if replace(theirs, steps=self.recipe.steps) != self.recipe:
                raise ValueError(
                    f"{path} was made with {asdict(theirs)}, now {asdict(self.recipe)} is asked: "
                    "use the same options (but --steps), or another --output."
                )
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        average = part("average.")
        self.average.load_state_dict(average)
        self.model.load_state_dict(part("model.") or average)
        if momentum := part("optimiser."):
            self.optimiser.load(momentum)
        self.step = state["step"]
        self.crops.generator.bit_generator.state = state["generator"]


def reference_pair(data: Path) -> tuple[WaldPair, WaldScores] | None:
    """The development scene of the log, degraded by 2, and bicubic's figures; None where it is not there."""
    try:
        pair = wald_pair(*development_scene("T33UUB", data))
    except FileNotFoundError:
        return None
    return pair, bicubic_scores(pair)


def gains_over_bicubic(model: SuperResolver, pair: WaldPair, reference: WaldScores) -> dict[str, float]:
    """Gain over bicubic in dB of 10 m and 20 m bands, and the consistency error in DN."""
    with torch.no_grad():
        output = model(torch.from_numpy(pair.input)[None])[0].numpy()
    scores = wald_scores(pair, output)
    gains = {f"gain{r}": round(gain_db(reference.mean_rmse(r), scores.mean_rmse(r)), 3) for r in (10, 20)}
    return {**gains, "consistency": round(float(scores.consistency.mean()), 2)}


def positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    """Argument type: a finite number above 0."""

    def parse(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
        return value

    return parse


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("name", help="network, such as edsr_4x32")
    parser.add_argument("--data", type=Path, default=os.environ.get("SUPERRES_DATA"), help="data folder")
    parser.add_argument("--output", type=Path, help="folder of checkpoint and log (default: runs/NAME)")
    parser.add_argument("--steps", type=positive(int), default=8_800)
    parser.add_argument("--batch", type=positive(int), default=16)
    parser.add_argument("--rate", type=positive(float), default=2e-3)
    parser.add_argument("--schedule", choices=("cosine", "constant"), default="cosine", help="of the rate")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=positive(int), default=os.cpu_count())
    parser.add_argument(
        "--every", type=positive(int), default=500, help="steps between checkpoints and log lines"
    )
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("say where the data folder is: --data, or environment variable SUPERRES_DATA")
    torch.set_num_threads(arguments.threads)
    options = {key: getattr(arguments, key) for key in ("rate", "seed", "schedule", "precision")}
    recipe = Recipe(arguments.name, arguments.steps, arguments.batch, **options)
    output = arguments.output or Path("runs") / arguments.name
    checkpoint = output / "checkpoint.safetensors"
    try:
        training = Training(recipe, training_sources(arguments.data))
        if checkpoint.exists():
            training.load(checkpoint)
            print(f"resumed from {checkpoint} at step {training.step}", flush=True)
        output.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError, SafetensorError) as error:
        parser.error(str(error))
    print(f"training on {', '.join(source.name for source in training.crops.sources)}", flush=True)
    measured = reference_pair(arguments.data)
    if measured is None:
        print("no scene T33UUB in the data folder: the log will hold no gains", flush=True)
    started, losses = time.monotonic(), []
    while training.step < recipe.steps:
        losses.append(training.advance())
        if training.step % arguments.every == 0 or training.step == recipe.steps:
            training.save(checkpoint)
            line = {
                "step": training.step,
                "loss": round(sum(losses) / len(losses), 5),
                "rate": round(rate_at(training.step, recipe), 7),
                "seconds": round(time.monotonic() - started),
                **(gains_over_bicubic(training.average, *measured) if measured else {}),
            }
            losses.clear()
            with (output / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
