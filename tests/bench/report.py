"""Fill the tables of docs/speed.md from the figures in tests/bench/figures, and draw its chart.

    python tests/bench/report.py

The chart needs matplotlib (``make train-setup``); without it, only the tables are filled.
"""

from __future__ import annotations

import importlib.util
import json
import re
from typing import TYPE_CHECKING, Any

import run_engine
import run_options
import run_product
from bench import ROOT
from plot_speed import plot

if TYPE_CHECKING:
    from collections.abc import Sequence

FIGURES = ROOT / "tests" / "bench" / "figures"
DOCUMENT = ROOT / "docs" / "speed.md"
CHART = ROOT / "docs" / "images" / "speed.svg"
END = "<!-- end of figures -->"


def markdown(table: tuple[Sequence[str], Sequence[Sequence[str]]]) -> str:
    """Heads and cells as a table of Markdown."""
    head, body = table
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def origin(facts: dict[str, Any], command: str) -> str:
    """What figures were measured on, and with what."""
    versions = ", ".join(f"{name} {facts[name]}" for name in ("onnxruntime", "numpy", "rasterio", "gdal"))
    return (
        f"`{command}`, {facts['date']}: {facts['processor']}, {facts['cores']} cores, "
        f"{facts['memory GiB']:.0f} GiB; Python {facts['python']}, {versions}; load {facts['load']} then."
    )


def tables() -> dict[str, str]:
    """Every table by the name in its mark."""
    engine, options, products = (
        json.loads((FIGURES / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("engine", "options", "product")
    )
    full = [row for row in products if row["size"] == run_product.FULL and not row["window"]]
    # the last run by each command speaks for the others
    last = {(row["command"], row["processor"]): row["machine"] for row in products}
    commands = "\n".join(f"- {origin(facts, command)}" for (command, _), facts in last.items())
    stages = [
        f"{row['level']}, `{row['model']}`, {row['cores']} core{'s' if row['cores'] > 1 else ''}:\n\n"
        + markdown(run_product.stage_table(row))
        for row in full
    ]
    return {
        "engine": origin(engine["machine"], engine["command"])
        + "\n\n"
        + markdown(run_engine.table(engine["rows"])),
        "options": origin(options["machine"], options["command"])
        + "\n\n"
        + markdown(run_options.table(options["rows"])),
        "runs": commands + "\n\n" + markdown(run_product.run_table(products)),
        "stages": "\n\n".join(stages),
        "product": markdown(run_product.product_table(products)),
    }


def filled(text: str, found: dict[str, str]) -> str:
    """Text with what stands below each mark, down to the next end, replaced."""
    for name, table in found.items():
        mark = f"<!-- figures: {name} -->"
        text, count = re.subn(
            f"{re.escape(mark)}.*?{re.escape(END)}",
            lambda _, mark=mark, table=table: f"{mark}\n\n{table}\n\n{END}",
            text,
            flags=re.DOTALL,
        )
        if count != 1:
            raise SystemExit(f"{DOCUMENT} has {count} marks {mark} with an end; expected one.")
    return text


def main() -> None:
    """Entry point."""
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(filled(text, tables()), encoding="utf-8")
    print(f"filled {DOCUMENT}")
    if importlib.util.find_spec("matplotlib"):
        plot(json.loads((FIGURES / "engine.json").read_text(encoding="utf-8"))["rows"], CHART)
        print(f"drew {CHART}")
    else:
        print("matplotlib is missing: the chart stays as it is")


if __name__ == "__main__":
    main()
