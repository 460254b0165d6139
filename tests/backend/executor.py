"""Executors: who runs the chunks of a User Defined Function, in processes that are not the server's."""

from __future__ import annotations

import logging
import os
import pickle
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from .errors import RequestError, UdfError

if TYPE_CHECKING:
    from collections.abc import Iterable

WORKER = Path(__file__).with_name("worker.py")

_log = logging.getLogger(__name__)


class Report:
    """What each worker did, by its process id."""

    def __init__(self) -> None:
        self.workers: dict[int, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def add(self, usage: dict[str, Any]) -> None:
        """Count one answer of a worker."""
        with self._lock:
            known = self.workers.setdefault(usage["pid"], {**usage, "chunks": 0, "seconds": 0.0})
            # the rest are totals or peaks of the process
            totals = {key: known[key] + usage[key] for key in ("chunks", "seconds")}
            known.update({**usage, **totals})

    def check(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Count an answer and give it back.

        Raises:
            UdfError: If it is an error.
        """
        if usage := answer.get("usage"):
            self.add(usage)
        if error := answer.get("error"):
            raise UdfError(error)
        return answer


class Executor(Protocol):
    """Runs chunks and reports what its workers did."""

    report: Report

    def start(self) -> None:
        """Get ready; this may wait until others are done."""

    def run(self, udf: dict[str, Any], chunks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answers in the chunks' order; see ``worker.run``."""

    def cancel(self) -> None:
        """Stop the workers at once, from another thread: what runs fails, and so does all that follows."""

    def close(self) -> list[str]:
        """Stop the workers; lines that they and their UDFs logged."""


class ProcessExecutor:
    """A few Python processes that live as long as this.

    Args:
        folder: Where they work; archives are unpacked beside them.
        workers: How many.
        memory: Of each, in bytes of virtual memory; None does not limit it.
        image: Folder of further packages that the image of the workers has.
    """

    def __init__(
        self, folder: Path, *, workers: int = 2, memory: int | None = None, image: Path | None = None
    ) -> None:
        self.report = Report()
        self._logs = [folder / f"worker-{index}.log" for index in range(workers)]
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        self._processes = [_Process(folder, log, memory, image) for log in self._logs]
        for process in self._processes:
            self._idle.put(process)

    def start(self) -> None:
        """See :class:`Executor`; a worker is started when there is a chunk for it."""

    def run(self, udf: dict[str, Any], chunks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """See :class:`Executor`."""

        def one(chunk: dict[str, Any]) -> dict[str, Any]:
            process = self._idle.get()
            try:
                return self.report.check(process.ask(udf, chunk))
            finally:
                self._idle.put(process)

        with ThreadPoolExecutor(len(self._processes)) as threads:
            futures = [threads.submit(one, chunk) for chunk in chunks]
            try:
                return [future.result() for future in futures]
            finally:
                threads.shutdown(cancel_futures=True)

    def cancel(self) -> None:
        """See :class:`Executor`."""
        for process in self._processes:
            process.kill()

    def close(self) -> list[str]:
        """See :class:`Executor`."""
        for process in self._processes:
            process.stop()
        return [line for log in self._logs for line in log.read_text(errors="replace").splitlines()]


class _Process:
    """One worker; started when it is first asked."""

    def __init__(self, folder: Path, log: Path, memory: int | None, image: Path | None) -> None:
        self._folder, self._log, self._memory, self._image = folder, log, memory, image
        self._log.touch()
        self._child: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._lock = threading.Lock()
        self._udf: dict[str, Any] | None = None

    def ask(self, udf: dict[str, Any], chunk: dict[str, Any]) -> dict[str, Any]:
        """Send a chunk and wait for the answer; the UDF is sent when it is another than before."""
        message: dict[str, Any] = {"chunk": chunk}
        if udf is not self._udf:
            message["udf"] = udf
        with self._lock:
            if self._killed:
                return {"error": "Cancelled."}
            child = self._started()
        try:
            pickle.dump(message, child.stdin)
            child.stdin.flush()
            answer: dict[str, Any] = pickle.load(child.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            status = child.wait()
            self._child = self._udf = None
            lines = self._log.read_text(errors="replace").splitlines()[-20:]
            return {"error": "\n".join([f"The Python worker died with exit status {status}.", *lines])}
        self._udf = udf
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            # neither the server's path nor its own folder: only what an image has
            environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            # as Spark sets it for its workers
            environment["OMP_NUM_THREADS"] = "1"
            if self._image:
                environment["PYTHONPATH"] = str(self._image)
            command = [sys.executable, "-P", str(WORKER)]
            if self._memory:
                command += ["--memory", str(self._memory)]
            with self._log.open("ab") as log:
                self._child = subprocess.Popen(
                    command,
                    cwd=self._folder,
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                )
        return self._child

    def kill(self) -> None:
        """For good: it is not started again."""
        with self._lock:
            self._killed = True
            if self._child is not None:
                self._child.kill()

    def stop(self) -> None:
        """Let it end, when nobody asks any more."""
        if self._child is not None:
            self._child.stdin.close()
            try:
                self._child.wait(5)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
            self._child.stdout.close()
            self._child = None


def parse_memory(text: str) -> int:
    """Bytes from a job option such as "2g" or "1800m"."""
    found = re.fullmatch(r"(\d+)\s*([kmgt]?)b?", str(text).strip().lower())
    if found is None:
        raise RequestError(f"Invalid amount of memory {text!r}; expected something like '2g'.")
    return int(found[1]) * 1024 ** " kmgt".index(found[2] or " ")
