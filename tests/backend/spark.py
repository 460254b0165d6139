"""The executor of real PySpark workers: a small cluster on this machine."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .executor import WORKER, Report

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyspark import SparkContext

PARTITIONS = 6
"""Tasks of a job: more than workers, so that each gets several in turn."""
BATCH = 64 << 20
"""Default, in bytes."""
ONE_AT_A_TIME = threading.Lock()
"""A process can have one Spark context."""


class SparkExecutor:
    """Two executors with one Python worker each, in working directories of their own.

    Spark itself fetches and unpacks the archives, limits the workers' memory and keeps the workers from task
    to task: the mechanisms that the real back-end relies on.

    Args:
        options: A job's; "udf-dependency-archives" and "python-memory" are known.
        folder: Of all such executors of this process, for whatever Spark writes.
        batch: Bytes of chunks that are given to Spark at once: they pass through the heap of its driver.
    """

    def __init__(self, options: dict[str, Any], folder: Path, *, batch: int = BATCH) -> None:
        self.report = Report()
        self._folder, self._batch = folder, batch
        self._options = options
        self._cancelled = False
        self._context: SparkContext | None = None

    def start(self) -> None:
        """See :class:`~backend.executor.Executor`."""
        ONE_AT_A_TIME.acquire()
        try:
            if not self._cancelled:
                self._context = _start(self._options, self._folder)
        finally:
            if self._context is None:
                ONE_AT_A_TIME.release()

    def run(self, udf: dict[str, Any], chunks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """See :class:`~backend.executor.Executor`."""
        tasks = list(chunks)
        size = max(len(pickle.dumps(task)) for task in tasks)
        count = max(2, self._batch // size)
        shared = self._context.broadcast(udf)

        def one(chunk: dict[str, Any]) -> dict[str, Any]:
            import worker  # noqa: PLC0415

            return worker.run(shared.value, chunk)

        answers = []
        for start in range(0, len(tasks), count):
            if self._cancelled:
                raise CancelledError
            batch = tasks[start : start + count]
            answers += self._context.parallelize(batch, min(len(batch), PARTITIONS)).map(one).collect()
        shared.destroy()
        return [self.report.check(answer) for answer in answers]

    def cancel(self) -> None:
        """See :class:`~backend.executor.Executor`."""
        self._cancelled = True
        if self._context:
            self._context.cancelAllJobs()

    def close(self) -> list[str]:
        """See :class:`~backend.executor.Executor`."""
        if self._context is None:
            return []
        folder = _home(self._folder) / "work" / self._context.applicationId
        try:
            self._context.stop()
            logs = sorted(folder.glob("*/stderr"))
            lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
            # the workers share it with the virtual machine, whose lines start with the time
            return [line for line in lines if not re.match(r"\d\d/\d\d/\d\d ", line)]
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            ONE_AT_A_TIME.release()


def shut_down() -> None:
    """Stop the virtual machine that the contexts of this process share: it writes to the very end."""
    pyspark = sys.modules.get("pyspark")
    gateway = pyspark.SparkContext._gateway if pyspark else None
    if gateway is None:
        return
    gateway.proc.terminate()
    try:
        gateway.proc.wait(10)
    except subprocess.TimeoutExpired:
        gateway.proc.kill()
        gateway.proc.wait()


def _home(folder: Path) -> Path:
    """A home for Spark that links to the installed one: it works in its home, wherever that is."""
    import pyspark  # noqa: PLC0415

    home = folder / "home"
    if not home.exists():
        home.mkdir(parents=True)
        for part in ("bin", "jars", "python"):
            (home / part).symlink_to(Path(pyspark.__file__).parent / part)
    return home


def _start(options: dict[str, Any], folder: Path) -> SparkContext:
    import pyspark  # noqa: PLC0415

    os.environ.update(
        SPARK_HOME=str(_home(folder)), SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable
    )
    # the executors inherit it, and the server's path is none of theirs
    os.environ.pop("PYTHONPATH", None)
    settings = {
        "spark.local.dir": str(folder / "local"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # both executors, before any chunk goes to one
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.executor.memory": "1g",
        "spark.archives": ",".join(options.get("udf-dependency-archives", [])),
        "spark.files": ",".join(options.get("udf-dependency-files", [])),
    }
    if memory := options.get("python-memory"):
        settings["spark.executor.pyspark.memory"] = memory
    conf = pyspark.SparkConf().setMaster("local-cluster[2,1,1024]").setAppName("openeo-superres")
    context = pyspark.SparkContext(conf=conf.setAll([*settings.items()]))
    context.setLogLevel("ERROR")
    context.addPyFile(str(WORKER))
    return context
