"""What is left of a run that is killed, or short of disk or memory, and whether the next one completes.

As a program, ``python faults.py KIND COUNT FOLDER CARD``, it prints a JSON list with an object for each
fault. Runs are forks of one process that has the package loaded.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KINDS = ("killed", "disk", "memory")
SAMPLE = Path(__file__).parents[1] / "examples" / "data"
EDGE = 160
"""Of the window, in 10 m pixels."""
NAME = "out.tif"
LIMIT = 20
"""Seconds until a run is ended: Python waits for ever for a thread that memory is too short to start."""
FEW = 0.05
"""Share of the addresses of a usual run at which all runs fail for lack of them, nearly."""
FILE_BYTES = 12 << 20
"""Size of the file system that fills up."""


def _start(folder: Path, card: Path, before: Callable[[], object] = lambda: None) -> int:
    """Run the command line in a fork; gives its process."""
    if child := os.fork():
        return child
    said = (folder.parent / "stderr").open("wb")
    os.dup2(said.fileno(), 2)
    os.dup2(said.fileno(), 1)
    from openeo_superres.__main__ import run  # noqa: PLC0415

    sys.argv = ["openeo-superres", "run", str(SAMPLE), str(folder / NAME), "--model", str(card)]
    sys.argv += ["--window", "60", "102", str(EDGE), str(EDGE), "--threads", "1", "--overwrite"]
    signal.alarm(LIMIT)
    status = 1
    try:
        before()
        run()
        status = 0
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException:  # noqa: BLE001  (a traceback is what a user would see)
        os.write(said.fileno(), traceback.format_exc().encode())
    os._exit(status)


def _end(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _addresses() -> int:
    """Bytes of addresses in use."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _limited(kind: int, size: int) -> Callable[[], None]:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(kind, (size, size))

    return limit


@contextmanager
def _small_disk(folder: Path) -> Iterator[bool]:
    """A file system of a megabyte on a folder; gives whether there may be one."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={FILE_BYTES}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, check=False) if os.geteuid() == 0 else None
    mounted = done is not None and done.returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def _kill(folder: Path, card: Path, share: float, usual: dict[str, float]) -> int:
    child = _start(folder, card)
    time.sleep(share * usual["seconds"])
    os.kill(child, signal.SIGKILL)
    return _end(child)


def _fill_disk(folder: Path, card: Path, share: float, usual: dict[str, float]) -> int:
    """No file grows beyond a share of the result."""
    return _end(_start(folder, card, _limited(resource.RLIMIT_FSIZE, int(share * usual["bytes"]))))


def _fill_small_disk(folder: Path, card: Path, share: float, usual: dict[str, float]) -> int:
    """Somebody else fills the disk at some moment."""
    child = _start(folder, card)
    time.sleep(share * usual["seconds"])
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    status = _end(child)
    filler.unlink()
    return status


def _short_of_memory(folder: Path, card: Path, share: float, usual: dict[str, float]) -> int:
    # most addresses are stacks and arenas, of which little is used
    more = int(FEW * share * usual["addresses"])
    return _end(_start(folder, card, _limited(resource.RLIMIT_AS, _addresses() + more)))


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _look(folder: Path, right: bytes) -> dict[str, object]:
    """What lies there."""
    names = sorted(path.name for path in folder.iterdir() if path.name != "filler")
    target = folder / NAME
    whole = target.exists() and target.read_bytes() == right
    return {
        "partial": target.exists() and not whole,
        "whole": whole,
        "hidden": sum(name.startswith(f".{NAME}.") for name in names),
        "others": [name for name in names if NAME not in name],
    }


def _usual(folder: Path, card: Path) -> tuple[bytes, dict[str, float]]:
    """The right bytes, and what a run takes that nothing disturbs."""
    started = time.monotonic()
    child = _start(folder, card)
    most = 0
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        with suppress(OSError, IndexError):
            most = max(most, int(Path(f"/proc/{child}/statm").read_text().split()[0]))
        time.sleep(0.002)
    seconds, right = time.monotonic() - started, (folder / NAME).read_bytes()
    _clear(folder)
    addresses = max(most * resource.getpagesize() - _addresses(), 1 << 24)
    return right, {"seconds": seconds, "bytes": len(right), "addresses": addresses}


def main() -> None:
    """Try faults of one kind."""
    kind, count, root, card = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    import onnxruntime  # noqa: F401, PLC0415

    import openeo_superres.cli  # noqa: F401, PLC0415

    folder = root / "results"
    folder.mkdir()
    right, usual = _usual(folder, card)
    shares = np.random.default_rng(count).uniform(0.02, 0.98, count)
    found = []
    for i, share in enumerate(shares):
        with _small_disk(folder) if kind == "disk" and i % 2 else nullcontext() as mounted:
            fault = {"killed": _kill, "memory": _short_of_memory}.get(
                kind, _fill_small_disk if mounted else _fill_disk
            )
            status = fault(folder, card, float(share), usual)
            said = (root / "stderr").read_text(errors="replace").splitlines()
            outcome = {"status": status, "lines": len(said), "said": said[-8:], "share": share}
            outcome |= {"small disk": bool(mounted)} | _look(folder, right)
            again = _end(_start(folder, card))
            outcome["again"] = {"status": again} | _look(folder, right)
            _clear(folder)
            found.append(outcome)
    json.dump(found, sys.stdout)


def faults(kind: str, count: int, folder: Path, card: Path) -> list[dict[str, object]]:
    """What became of some faults, in a process of its own."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, __file__, kind, str(count), str(folder), str(card)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    shutil.rmtree(folder)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
