"""Copy the catalogue entry into a checkout of apex_algorithms, with the publisher's facts filled in.

Fill publisher.json first, then: python fill.py CHECKOUT
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

HERE = Path(__file__).parent
PLACEHOLDER = re.compile(r"PLACEHOLDER_[A-Z_]+")


def filled(text: str, facts: dict[str, str]) -> str:
    """Put the facts in the place of their names; in JSON, too."""
    return PLACEHOLDER.sub(lambda found: json.dumps(facts[found[0]])[1:-1], text)


def main() -> None:
    """Copy every file, its path included."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("checkout", type=Path, help="folder that algorithm_catalog/ is, or shall be, in")
    parser.add_argument("--publisher", type=Path, default=HERE / "publisher.json", help="the facts")
    options = parser.parse_args()
    facts = json.loads(options.publisher.read_text(encoding="utf-8"))
    if missing := [name for name, value in facts.items() if not value]:
        raise SystemExit(f"{options.publisher} has no value for {', '.join(missing)}.")
    for source in sorted(HERE.glob("algorithm_catalog/**/*.*")):
        if "__pycache__" in source.parts:
            continue
        destination = options.checkout / filled(str(source.relative_to(HERE)), facts)
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_text(filled(source.read_text(encoding="utf-8"), facts), encoding="utf-8")
        print(destination)


if __name__ == "__main__":
    main()
