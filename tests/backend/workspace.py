"""The server's folder, in which everything is that it writes; none outlives its server for long."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "openeo-backend-"


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder that is removed in the end, by the next server if this one is killed."""
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{PREFIX}*/lock"):
        _remove_if_free(left)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_free(path: Path) -> None:
    try:
        with path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)
    except OSError:
        # a running server's, or another user's
        return
