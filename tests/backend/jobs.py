"""Batch jobs, in threads of the server, with workers of their own."""

from __future__ import annotations

import copy
import itertools
import logging
import shutil
import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from openeo.util import rfc3339
from openeo_driver.backend import BatchJobMetadata, BatchJobs, JobListing
from openeo_driver.constants import DEFAULT_LOG_LEVEL_RETRIEVAL, JOB_STATUS
from openeo_driver.errors import JobNotFinishedException, JobNotFoundException
from openeo_driver.save_result import SaveResult, to_save_result
from openeo_driver.util.date_math import now_utc
from openeo_driver.utils import EvalEnv, generate_unique_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from openeo_driver.users import User

    from .executor import Executor

_log = logging.getLogger(__name__)


@dataclass
class Job:
    """What is known of a job."""

    info: BatchJobMetadata
    user: User
    folder: Path
    api_version: str
    assets: dict[str, dict] = field(default_factory=dict)
    logs: list[dict[str, Any]] = field(default_factory=list)
    executor: Executor | None = None
    """While it runs."""
    deleted: bool = False

    def log(self, level: str, message: str, data: Any = None) -> None:
        """Add an entry to the log that the user reads."""
        entry = {"id": str(len(self.logs)), "level": level, "message": message, "time": rfc3339.now_utc()}
        self.logs.append(entry | ({"data": data} if data is not None else {}))

    def update(self, **fields: Any) -> None:
        """Change the metadata."""
        self.info = self.info._replace(updated=now_utc(), **fields)

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.info.status in {JOB_STATUS.QUEUED, JOB_STATUS.RUNNING}

    def cancel(self) -> None:
        """Stop it; its thread cleans up."""
        if self.active:
            self.update(status=JOB_STATUS.CANCELED, finished=now_utc())
            if self.executor:
                self.executor.cancel()


class Jobs(BatchJobs):
    """See openeo-driver.

    Args:
        folder: For the jobs' results and workers.
        make_executor: Makes the workers of one job from its options, in a folder.
    """

    def __init__(self, folder: Path, make_executor: Callable[[dict[str, Any], Path], Executor]) -> None:
        super().__init__()
        self._folder = folder
        self._make_executor = make_executor
        self._jobs: dict[tuple[str, str], Job] = {}
        self._threads: list[threading.Thread] = []
        self.backend: Any = None

    def _job(self, job_id: str, user_id: str) -> Job:
        try:
            return self._jobs[user_id, job_id]
        except KeyError:
            raise JobNotFoundException(job_id) from None

    def create_job(
        self, user: User, process: dict, api_version: str, metadata: dict, job_options: dict | None = None
    ) -> BatchJobMetadata:
        job_id = generate_unique_id(prefix="j")
        texts = {key: metadata.get(key) for key in ("title", "description")}
        info = BatchJobMetadata(
            id=job_id,
            status=JOB_STATUS.CREATED,
            created=now_utc(),
            process=process,
            job_options=job_options,
            **texts,
        )
        self._jobs[user.user_id, job_id] = Job(info, user, self._folder / job_id, api_version)
        return info

    def get_job_info(self, job_id: str, user_id: str) -> BatchJobMetadata:
        return self._job(job_id, user_id).info

    def get_user_jobs(
        self,
        user_id: str,
        limit: int | None = None,
        request_parameters: dict | None = None,  # noqa: ARG002
    ) -> JobListing:
        jobs = [job.info for (user, _), job in self._jobs.items() if user == user_id]
        return JobListing(sorted(jobs, key=lambda info: info.created, reverse=True)[:limit])

    def start_job(self, job_id: str, user: User) -> None:
        job = self._job(job_id, user.user_id)
        if job.active or job.executor:
            return
        shutil.rmtree(job.folder, ignore_errors=True)
        job.update(status=JOB_STATUS.QUEUED)
        thread = threading.Thread(target=self._run, args=[job], daemon=True)
        self._threads = [*filter(threading.Thread.is_alive, self._threads), thread]
        thread.start()

    def _run(self, job: Job) -> None:
        try:
            self._compute(job)
            status = JOB_STATUS.FINISHED
        except Exception as error:  # whatever it is, the user reads it in the log
            if job.active:
                _log.exception("Job %s failed", job.info.id)
                job.log("error", f"OpenEO batch job failed: {error}")
            status = JOB_STATUS.ERROR
        if job.executor:
            for line in job.executor.close():
                job.log("info", line)
            for usage in job.executor.report.workers.values():
                job.log("info", _describe(usage), usage)
            job.executor = None
        if job.active:
            job.update(status=status, finished=now_utc())
        if job.deleted:
            shutil.rmtree(job.folder, ignore_errors=True)

    def _compute(self, job: Job) -> None:
        options = job.info.job_options or {}
        work = job.folder / "work"
        work.mkdir(parents=True)
        job.executor = self._make_executor(options, work)
        job.executor.start()
        if not job.active:
            # cancelled meanwhile
            raise CancelledError
        job.update(status=JOB_STATUS.RUNNING, started=now_utc())
        env = EvalEnv(
            {
                "backend_implementation": self.backend,
                "version": job.api_version,
                "openeo_api_version": job.api_version,
                "user": job.user,
                "job_options": options,
                "node_caching": False,
                "executor": job.executor,
            }
        )
        # evaluation changes the graph
        graph = copy.deepcopy(job.info.process["process_graph"])
        results = self.backend.processing.evaluate(process_graph=graph, env=env)
        for result in results if isinstance(results, list) else [results]:
            saved = result if isinstance(result, SaveResult) else to_save_result(data=result)
            assets = saved.write_assets(str(job.folder / "out"))
            job.assets.update({name: {"output_dir": str(job.folder), **a} for name, a in assets.items()})

    def get_result_assets(self, job_id: str, user_id: str) -> dict[str, dict]:
        job = self._job(job_id, user_id)
        if job.info.status != JOB_STATUS.FINISHED:
            raise JobNotFinishedException
        return job.assets

    def get_log_entries(
        self,
        job_id: str,
        *,
        user_id: str,
        offset: str | None = None,
        limit: int | None = None,
        level: str = DEFAULT_LOG_LEVEL_RETRIEVAL,
    ) -> Iterator[dict]:
        least = logging.getLevelNamesMapping()[level.upper()]
        entries = self._job(job_id, user_id).logs[int(offset or 0) :]
        known = logging.getLevelNamesMapping()
        return itertools.islice((e for e in entries if known[e["level"].upper()] >= least), limit)

    def cancel_job(self, job_id: str, user_id: str) -> None:
        self._job(job_id, user_id).cancel()

    def delete_job(self, job_id: str, user_id: str) -> None:
        job = self._jobs.pop((user_id, self._job(job_id, user_id).info.id))
        job.deleted = True
        job.cancel()
        if job.executor is None:
            shutil.rmtree(job.folder, ignore_errors=True)

    def close(self) -> None:
        """Cancel what waits or runs, and wait until it is tidied up."""
        for job in self._jobs.values():
            job.cancel()
        for thread in self._threads:
            thread.join(10)


def _describe(usage: dict[str, Any]) -> str:
    return (
        f"UDF worker {usage['pid']}: {usage['chunks']} chunks, {usage['model_loads']} model loads, "
        f"{usage['seconds']:.1f} s inside the UDF, at most {usage['resident_mib']:.0f} MiB resident "
        f"and {usage['virtual_mib']:.0f} MiB virtual"
    )
