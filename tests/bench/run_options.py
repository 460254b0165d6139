"""Time the options of onnxruntime that may matter, and the sizes of what a network is given at a time.

    python tests/bench/run_options.py
    python tests/bench/run_options.py --model edsr_2x32 --repeat 9

The network alone, on pixels of the sample: a chunk of ``--size`` 10 m pixels with all that the network
depends on around it. "engine" are the options that ``udf.load_model`` sets; other rows change one of them, or
the size, or how many chunks one call takes. px/s are 10 m pixels that are kept. "against engine" is the ratio
of rates in the same round, median and range over the rounds: what lies within the range of the second row,
the engine's options again, is noise. "By processor time" is the same on what the processor spent: the one to
trust for one core where others use the machine. One core, but where a row says two.

The CPU provider has no option for NHWC: it chooses a blocked layout by itself at the highest level of graph
optimisation, and the row "extended" is without.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from bench import CORES, FOLDER, bind, in_child, save, show

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

SAMPLE = Path(__file__).parents[2] / "examples" / "data"
ENTRIES = {
    "spinning off": {"session.intra_op.allow_spinning": "0"},
    "denormals are zero": {"session.set_denormal_as_zero": "1"},
    "no prepacking": {"session.disable_prepacking": "1"},
}
"""Rows that set an entry of the session's configuration."""
LEVELS = {"not optimised": "ORT_DISABLE_ALL", "basic": "ORT_ENABLE_BASIC", "extended": "ORT_ENABLE_EXTENDED"}
"""Of graph optimisation; the engine has onnxruntime's default, all."""
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "memory pattern": {"enable_mem_pattern": True},
    "no arena": {"enable_cpu_mem_arena": False},
    "no memory reuse": {"enable_mem_reuse": False},
    "deterministic": {"use_deterministic_compute": True},
}
PARALLEL = "operators in parallel"
"""A row of its own: a thread each for as many operators as there are cores."""
SIZES = (128, 192, 256, 384, 512, 768, 1024)


def session_with(content: bytes, change: str, cores: int) -> Any:
    """The engine's session with what a row changes."""
    import onnxruntime as ort  # noqa: PLC0415

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = cores, 1
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    if change in LEVELS:
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, LEVELS[change])
    if change == PARALLEL:
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
        options.intra_op_num_threads, options.inter_op_num_threads = 1, cores
    for attribute, value in ATTRIBUTES.get(change, {}).items():
        setattr(options, attribute, value)
    for key, value in ENTRIES.get(change, {}).items():
        options.add_session_config_entry(key, value)
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def read_sample(edge: int) -> NDArray[np.float32]:
    """The sample's ten bands, repeated, as ``(10, edge, edge)`` on the 10 m grid."""
    import rasterio  # noqa: PLC0415

    images = []
    for resolution in (10, 20):
        with rasterio.open(SAMPLE / f"virginia_{resolution}m.tif") as source:
            step = resolution // 10
            images.append(source.read().astype(np.float32).repeat(step, axis=1).repeat(step, axis=2))
    image = np.concatenate(images)
    repeats = [-(-edge // n) for n in image.shape[1:]]
    return np.tile(image, (1, *repeats))[:, :edge, :edge]


def work(task: dict[str, Any]) -> list[list[tuple[float, float]]]:
    """Wall and processor time of every row in s, round by round, in this process."""
    from openeo_superres import load_card  # noqa: PLC0415
    from openeo_superres.udf import ALIGNMENT, FILL_RADIUS  # noqa: PLC0415

    card = load_card(task["model"])
    content = card.read_weights()
    # without what filling and alignment may need, which is no matter of the network
    reach = card.margin - FILL_RADIUS - ALIGNMENT
    reach += reach % 2
    image = read_sample(max(row["size"] for row in task["rows"]) + 2 * reach)
    sessions: dict[tuple[str, int], Any] = {}
    calls: list[Callable[[], object]] = []
    for row in task["rows"]:
        key = (row["change"], row["cores"])
        bind(row["cores"])
        sessions[key] = sessions.get(key) or session_with(content, *key)
        edge = row["size"] + 2 * reach
        batch = np.repeat(image[None, :, :edge, :edge], row["batch"], axis=0)
        calls.append(partial(sessions[key].run, None, {"input": batch}))
        calls[-1]()
    rounds: list[list[tuple[float, float]]] = []
    for number in range(1, task["repeat"] + 1):
        rounds.append([])
        for row, call in zip(task["rows"], calls, strict=True):
            bind(row["cores"])
            started, before = time.perf_counter(), time.process_time()
            call()
            rounds[-1].append((time.perf_counter() - started, time.process_time() - before))
        print(f"round {number} of {task['repeat']}", file=sys.stderr, flush=True)
    return rounds


def rows_of(size: int, sizes: Sequence[int], batches: dict[int, int]) -> list[dict[str, Any]]:
    """Every row; the first is what the others are compared with."""
    cores = min(2, len(CORES))
    changes = ["engine", "engine again", *LEVELS, *ATTRIBUTES, *ENTRIES]
    rows = [{"change": change, "cores": 1, "size": size, "batch": 1} for change in changes]
    rows += [
        {"change": change, "cores": cores, "size": size, "batch": 1}
        for change in ("engine", "spinning off", PARALLEL)
    ]
    rows += [{"change": "engine", "cores": 1, "size": edge, "batch": 1} for edge in sizes]
    rows += [{"change": "engine", "cores": 1, "size": edge, "batch": n} for n, edge in batches.items()]
    return rows


def table(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Heads and cells, a row for each row."""
    body = [
        [
            row["change"],
            f"{row['batch']} x {row['size']}",
            str(row["cores"]),
            f"{row['rate'] / 1000:,.0f}",
            f"{row['ratio']:.2f} ({row['least']:.2f}-{row['most']:.2f})",
            f"{row['processor ratio']:.2f}",
        ]
        for row in rows
    ]
    return ["options", "chunks x size", "cores", "kpx/s", "against engine", "by processor time"], body


def main() -> None:
    """Entry point."""
    from openeo_superres import DEFAULT_MODEL  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--size", type=int, default=512, help="of the chunk that options are compared on")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--repeat", type=int, default=7, help="rounds (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=FOLDER / "options.json")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(work(json.load(sys.stdin))))
        return
    batches = {4: arguments.size // 2, 16: arguments.size // 4}
    rows = rows_of(arguments.size, arguments.sizes, batches)
    rounds = in_child(__file__, {"model": arguments.model, "rows": rows, "repeat": arguments.repeat})
    for row, seconds in zip(rows, zip(*rounds, strict=True), strict=True):
        share = row["batch"] * row["size"] ** 2 / arguments.size**2
        ratios, spent = (
            [share * turn[0][kind] / times[kind] for times, turn in zip(seconds, rounds, strict=True)]
            for kind in (0, 1)
        )
        row["rate"] = share * arguments.size**2 / statistics.median(wall for wall, _ in seconds)
        row |= {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
        row["processor ratio"] = statistics.median(spent)
    show(*table(rows))
    settings = {"model": arguments.model, "size": arguments.size, "rounds": arguments.repeat}
    save(arguments.json, settings=settings, rows=rows)


if __name__ == "__main__":
    main()
