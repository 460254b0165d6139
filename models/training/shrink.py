"""Make a checkpoint small enough to be committed: the averaged weights alone, as float16.

``training.export`` writes the same model from either. Training goes on from the small one, too, with the
averaged weights for the network's and without momentum.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors import SafetensorError

from .checkpoint import read_checkpoint, write_checkpoint


def shrink(checkpoint: Path, path: Path) -> None:
    """Write the small form of ``checkpoint`` to ``path``."""
    parts, state = read_checkpoint(checkpoint)
    average = {name: tensor.half() for name, tensor in parts["average"].items()}
    write_checkpoint(path, {"average": average}, state)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.shrink", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="written by training.train")
    parser.add_argument("output", type=Path, help="file of the small one")
    arguments = parser.parse_args()
    try:
        shrink(arguments.checkpoint, arguments.output)
    except (ValueError, OSError, SafetensorError) as error:
        parser.error(" ".join(str(error).split()))
    print(f"{arguments.output}: {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
