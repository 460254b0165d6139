"""Entry point of the command line: what can go wrong before and around it ends in one line, too."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""Exit status of a command that was stopped, as shells have it."""


def run() -> None:
    """Run the command line, or name what it lacks."""
    _silence_libraries()
    for name in ("SIGTERM", "SIGHUP"):  # batch systems and closed terminals: clean up as after Ctrl-C
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupt)
    try:
        from .cli import main  # noqa: PLC0415  (its packages come with an extra)

        main()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("openeo_superres"):
            raise
        _end(
            f"Error: The command line needs {error.name}, which comes with the extra 'cli': "
            "pip install 'openeo-superres[cli]'.",
            2,
        )
    except KeyboardInterrupt:
        _end("Interrupted: nothing was left half-written.", INTERRUPTED)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _end(line: str, status: int) -> NoReturn:
    print(line, file=sys.stderr)  # noqa: T201
    sys.exit(status)


def _silence_libraries() -> None:
    """Keep stderr for this package: libraries in C (libtiff, onnxruntime) write to its file descriptor.

    What they say stands in the errors that are raised, too.
    """
    try:
        ours = os.fdopen(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        sys.stderr = ours
    except (AttributeError, OSError):  # there is no stderr at all
        pass
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    run()
