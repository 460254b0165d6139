"""Say what each known network costs and how much context it needs."""

from __future__ import annotations

import argparse
import json

from .networks import KNOWN, build


def describe(name: str) -> dict[str, str | int]:
    """Name, learnt parameters, and margin in 10 m pixels of a network."""
    model = build(name)
    return {"name": name, "parameters": model.parameter_count, "margin": model.margin}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.describe", description=__doc__)
    parser.add_argument("names", nargs="*", default=KNOWN, help="networks (default: every known one)")
    parser.add_argument("--json", action="store_true", help="a JSON list of {name, parameters, margin}")
    arguments = parser.parse_args()
    try:
        rows = [describe(name) for name in arguments.names]
    except ValueError as error:
        parser.error(str(error))
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'name':16} {'parameters':>12} {'margin (10 m px)':>18}")
    for row in rows:
        print(f"{row['name']:16} {row['parameters']:12,} {row['margin']:18}")


if __name__ == "__main__":
    main()
