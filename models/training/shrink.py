"""Make a checkpoint small enough to be committed: the averaged weights alone, as float16.

``training.export`` writes the same model from either. Training goes on from the small one, too, with the
averaged weights for the network's and without momentum.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file


def shrink(checkpoint: Path, path: Path) -> None:
    """Write the small form of ``checkpoint`` to ``path``."""
    with safe_open(checkpoint, framework="pt") as file:
        tensors = {key: file.get_tensor(key).half() for key in file.keys() if key.startswith("average.")}  # noqa: SIM118
        state = file.metadata()
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata=state)
    part.replace(path)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.shrink", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="written by training.train")
    parser.add_argument("output", type=Path, help="file of the small one")
    arguments = parser.parse_args()
    try:
        shrink(arguments.checkpoint, arguments.output)
    except (OSError, SafetensorError) as error:
        parser.error(" ".join(str(error).split()))
    print(f"{arguments.output}: {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
