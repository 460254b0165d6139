"""Train a network on simulated pairs of real images. At any time it can be stopped or killed, and resumed."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError

from . import degradation, device
from .arguments import positive
from .average import follow
from .checkpoint import read_checkpoint, write_checkpoint
from .datasets import Crops, FineCrops, Source, training_sources
from .losses import loss_of, pretraining_loss
from .networks import build
from .optimiser import Optimiser
from .progress import gains_over_bicubic, reference_pair, validation_pair, write_line
from .recipe import Recipe, rate_at
from .sen2venus import Dataset, load_dataset

if TYPE_CHECKING:
    import numpy as np

    from openeo_superres.evaluate import WaldPair, WaldScores

CPU = torch.device("cpu")
METHOD = "Full-resolution and Wald x4 pairs of SEN2VENµS, Wald pairs of the sources, L1 through the layer"
"""What the card says where SEN2VENµS was trained on."""


class Training:
    """A network with its moving average, optimiser and crops: what a checkpoint holds.

    Args:
        recipe: What decides the result.
        sources: Sentinel-2 images to train on; none are needed where all steps are on SEN2VENµS.
        sen2venus: The dataset, where the recipe gives it a share. Only its training sites are drawn from.
        place: Where the network is computed; crops and pairs are made by the processor.

    Raises:
        ValueError: If the network is unknown or has nothing to learn, or SEN2VENµS has no training site.
    """

    def __init__(
        self,
        recipe: Recipe,
        sources: list[Source],
        sen2venus: Dataset | None = None,
        place: torch.device = CPU,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.step = 0
        self.model = build(recipe.name)
        if not self.model.parameter_count:
            raise ValueError(f"{recipe.name} has nothing to learn: export it as it is.")
        if recipe.precision == "bfloat16":
            network = self.model.network
            network.forward = torch.autocast(place.type, torch.bfloat16)(network.forward)
        self.model.to(place)
        self.average = build(recipe.name).to(place)
        self.average.load_state_dict(self.model.state_dict())
        self.optimiser = Optimiser(self.model)
        self.place = place
        self.crops = Crops(sources, recipe.seed)
        self.sen2venus = sen2venus
        self.fine_crops = FineCrops(sen2venus.split("training") if sen2venus else [])
        if recipe.sen2venus and not self.fine_crops.patches:
            there = f"only {', '.join(sen2venus.sites)}" if sen2venus else "it was not given"
            raise ValueError(f"No training site of SEN2VENµS: {there}.")

    def advance(self) -> float:
        """One step; gives its loss.

        Raises:
            ValueError: If a patch cannot be read, or nothing is worth learning from.
        """
        recipe = self.recipe
        generator = self.crops.generator
        consistency = recipe.final_consistency if self.step >= recipe.settles else recipe.consistency
        if recipe.sen2venus and generator.random() < recipe.sen2venus:
            pairs = self._fine_pairs(generator)
            loss = pretraining_loss(self.model, *(pair.to(self.place) for pair in pairs), consistency)
        else:
            pair = degradation.drawn_pair(self.crops, recipe.batch, recipe.crop, recipe.quarter)
            loss = loss_of(self.model, pair.to(self.place), consistency)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step(rate_at(self.step, recipe))
        self.step += 1
        follow(self.average, self.model, self.step, recipe.average)
        return loss.item()

    def _fine_pairs(self, generator: np.random.Generator) -> tuple[degradation.Pair, degradation.Pair]:
        """Of the same patches: FR pairs of a part as large as other crops, Wald x4 pairs of twice that."""
        recipe = self.recipe
        x05, x10, x20 = self.fine_crops.draw(recipe.batch, 2 * recipe.crop, generator)
        cells = x20.shape[2] - recipe.crop // 2
        row, column = generator.integers(max(0, cells) + 1, size=2).tolist()
        part = x05[..., 4 * row :, 4 * column :][..., : 2 * recipe.crop, : 2 * recipe.crop]
        coarse = x20[..., row:, column:][..., : recipe.crop // 2, : recipe.crop // 2]
        fine = degradation.full_resolution_pair(part, coarse, generator)
        return fine, degradation.wald_pair(x10, x20, 4, generator)

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        parts = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state(),
        }
        state = {
            "step": self.step,
            "recipe": asdict(self.recipe),
            "sources": {source.name: source.weight for source in self.crops.sources},
            "generator": self.crops.generator.bit_generator.state,
        }
        if self.sen2venus is not None:
            counts = {split: len(self.sen2venus.split(split)) for split in ("training", "validation")}
            state["sen2venus"] = {"version": self.sen2venus.version, **counts}
            state["method"] = METHOD
        write_checkpoint(path, parts, state)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint, whole or as :mod:`training.shrink` leaves it.

        Raises:
            ValueError: If it was made with another recipe, or by a fine-tuning.
        """
        parts, state = read_checkpoint(path)
        if "base" in state:
            raise ValueError(f"{path} is of a fine-tuning (training.finetune): use another --output.")
        theirs = Recipe(**state["recipe"])
        if not theirs.begins_like(self.recipe):
            raise ValueError(
                f"{path} was made with {asdict(theirs)}, now {asdict(self.recipe)} is asked: "
                "use the same options (but --steps and --final-consistency), or another --output."
            )
        self.average.load_state_dict(parts["average"])
        self.model.load_state_dict(parts.get("model", parts["average"]))
        if "optimiser" in parts:
            self.optimiser.load(parts["optimiser"])
        self.step = state["step"]
        self.crops.generator.bit_generator.state = state["generator"]


def arguments_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What the command line says; without data of any kind it ends here."""
    parser.add_argument("name", help="network, such as edsr_4x32")
    parser.add_argument("--data", type=Path, default=os.environ.get("SUPERRES_DATA"), help="data folder")
    parser.add_argument(
        "--sen2venus", type=Path, help="folder of SEN2VENµS: half of the steps, or all without --data"
    )
    parser.add_argument("--output", type=Path, help="folder of checkpoint and log (default: runs/NAME)")
    parser.add_argument("--steps", type=positive(int), default=8_800)
    parser.add_argument("--batch", type=positive(int), default=16)
    parser.add_argument("--rate", type=positive(float), default=2e-3)
    parser.add_argument("--schedule", choices=("cosine", "constant"), default="cosine", help="of the rate")
    parser.add_argument(
        "--final-consistency",
        type=positive(float),
        default=Recipe.final_consistency,
        help="weight of the consistency error over the last steps (default: %(default)s)",
    )
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="default: bfloat16 on CUDA, else float32"
    )
    parser.add_argument(
        "--device", choices=device.DEVICES, default="auto", help="auto: CUDA where there is one"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=positive(int), default=os.cpu_count())
    parser.add_argument(
        "--every", type=positive(int), default=500, help="steps between checkpoints and log lines"
    )
    arguments = parser.parse_args()
    if arguments.data is None and arguments.sen2venus is None:
        parser.error("say where the data folder is: --data, or environment variable SUPERRES_DATA")
    return arguments


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    arguments = arguments_of(parser)
    torch.set_num_threads(arguments.threads)
    output = arguments.output or Path("runs") / arguments.name
    checkpoint = output / "checkpoint.safetensors"
    try:
        place = device.choose(arguments.device)
        sen2venus = arguments.sen2venus and load_dataset(arguments.sen2venus)
        recipe = Recipe(
            arguments.name,
            arguments.steps,
            arguments.batch,
            rate=arguments.rate,
            seed=arguments.seed,
            schedule=arguments.schedule,
            final_consistency=arguments.final_consistency,
            precision=arguments.precision or device.precision_for(place),
            sen2venus=0.0 if sen2venus is None else 1.0 if arguments.data is None else 0.5,
        )
        sources = [] if arguments.data is None else training_sources(arguments.data)
        training = Training(recipe, sources, sen2venus, place)
        validation = None if sen2venus is None else validation_pair(sen2venus, recipe.crop)
        if checkpoint.exists():
            training.load(checkpoint)
            print(f"resumed from {checkpoint} at step {training.step}", flush=True)
        output.mkdir(parents=True, exist_ok=True)
        measured = reference_pair(arguments.data)
    except (ValueError, OSError, SafetensorError) as error:
        parser.error(str(error))
    names = [source.name for source in sources]
    if sen2venus is not None:
        names.append(f"{len(training.fine_crops.patches)} patches of SEN2VENµS {sen2venus.version}")
    print(f"training on {', '.join(names)}; {place.type}, {recipe.precision}", flush=True)
    if measured is None:
        print("no scene T33UUB in the data folder: the log will hold no gains", flush=True)
    try:
        run(training, checkpoint, arguments.every, measured, validation)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        parser.exit(130, f"stopped; the same command goes on from {checkpoint}\n")


def run(
    training: Training,
    checkpoint: Path,
    every: int,
    measured: tuple[WaldPair, WaldScores] | None,
    validation: degradation.Pair | None,
) -> None:
    """Train to the last step, with a checkpoint and a line of the log after each ``every`` steps."""
    recipe = training.recipe
    started, losses = time.monotonic(), []
    while training.step < recipe.steps:
        losses.append(training.advance())
        if training.step % every == 0 or training.step == recipe.steps:
            training.save(checkpoint)
            line = {
                "step": training.step,
                "loss": round(sum(losses) / len(losses), 5),
                "rate": round(rate_at(training.step, recipe), 7),
                "seconds": round(time.monotonic() - started),
                **(gains_over_bicubic(training.average, *measured) if measured else {}),
            }
            if validation is not None:
                with torch.no_grad():
                    line["validation"] = round(
                        loss_of(training.average, validation.to(training.place)).item(), 5
                    )
            losses.clear()
            write_line(checkpoint.with_name("log.jsonl"), line)


if __name__ == "__main__":
    main()
