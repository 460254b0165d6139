"""Runs command lines, each in a fork of one process that has the package loaded, and says what each took.

Reads a JSON list of lists of arguments; writes a JSON object: ``startup`` (seconds of CPU to load the
package) and ``runs``, a list of status, lines on stderr, seconds of CPU (with those of the start) and MiB of
memory at most.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
from pathlib import Path

LIMIT = 20
"""Seconds of a run until it is ended."""
MEMORY = 3 << 30
"""Bytes of addresses, beyond which a run ends rather than the machine."""


def _used(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def _child(arguments: list[str], said: Path) -> None:
    """Become a command line of its own."""
    from openeo_superres.__main__ import run  # noqa: PLC0415

    with said.open("wb") as file:
        os.dup2(file.fileno(), 2)
    with open(os.devnull, "r+b") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 0)
        os.dup2(nowhere.fileno(), 1)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    signal.alarm(LIMIT)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.argv = ["openeo-superres", *arguments]
    status = 1
    try:
        run()
        status = 0
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException:  # noqa: BLE001  (a traceback is what a user would see)
        import traceback  # noqa: PLC0415

        said.write_text(traceback.format_exc())
    os._exit(status)


def main() -> None:
    """Run what stdin lists."""
    import openeo_superres.cli  # noqa: F401, PLC0415

    startup, runs = _used(resource.RUSAGE_SELF), []
    for arguments in json.load(sys.stdin):
        with tempfile.TemporaryDirectory() as folder:
            said = Path(folder) / "stderr"
            if (child := os.fork()) == 0:
                _child(arguments, said)
            _, status, usage = os.wait4(child, 0)
            text = said.read_text(errors="replace") if said.exists() else ""
        runs.append(
            {
                "status": os.waitstatus_to_exitcode(status),
                "stderr": text.splitlines(),
                "cpu": round(startup + usage.ru_utime + usage.ru_stime, 2),
                "memory": usage.ru_maxrss >> 10,
            }
        )
    json.dump({"startup": round(startup, 2), "runs": runs}, sys.stdout)


if __name__ == "__main__":
    main()
