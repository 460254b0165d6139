"""The executor of real PySpark workers: a small cluster on this machine."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .executor import WORKER, Report

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyspark import SparkContext

PARTITIONS = 6
"""Tasks of a job: more than workers, so that each gets several in turn."""
BATCH = 64 << 20
"""Bytes of chunks that are given to Spark at once: they pass through the heap of its driver."""
ONE_AT_A_TIME = threading.Lock()
"""A process can have one Spark context."""


class SparkExecutor:
    """Two executors with one Python worker each, in working directories of their own.

    Spark itself fetches and unpacks the archives, limits the workers' memory and keeps the workers from task
    to task: the mechanisms that the real back-end relies on.

    Args:
        options: A job's; "udf-dependency-archives" and "python-memory" are known.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.report = Report()
        ONE_AT_A_TIME.acquire()
        try:
            self._context = _start(options)
        except BaseException:
            ONE_AT_A_TIME.release()
            raise

    def run(self, udf: dict[str, Any], chunks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """See :class:`~backend.executor.Executor`."""
        tasks = list(chunks)
        size = max(len(pickle.dumps(task)) for task in tasks)
        count = max(2, BATCH // size)
        shared = self._context.broadcast(udf)

        def one(chunk: dict[str, Any]) -> dict[str, Any]:
            import worker  # noqa: PLC0415

            return worker.run(shared.value, chunk)

        answers = []
        for start in range(0, len(tasks), count):
            batch = tasks[start : start + count]
            answers += self._context.parallelize(batch, min(len(batch), PARTITIONS)).map(one).collect()
        shared.destroy()
        return [self.report.check(answer) for answer in answers]

    def close(self) -> list[str]:
        """See :class:`~backend.executor.Executor`."""
        folder = Path(os.environ["SPARK_HOME"], "work", self._context.applicationId)
        try:
            self._context.stop()
            logs = sorted(folder.glob("*/stderr"))
            lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
            # the workers share it with the virtual machine, whose lines start with the time
            return [line for line in lines if not re.match(r"\d\d/\d\d/\d\d ", line)]
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            ONE_AT_A_TIME.release()


def _start(options: dict[str, Any]) -> SparkContext:
    import pyspark  # noqa: PLC0415

    home = Path(pyspark.__file__).parent
    os.environ.update(SPARK_HOME=str(home), SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable)
    # the executors inherit it, and the server's path is none of theirs
    os.environ.pop("PYTHONPATH", None)
    settings = {
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
