"""The back-end's services, put together, and the web application over them."""

from __future__ import annotations

import json
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import flask
from openeo.internal.process_graph_visitor import ProcessGraphVisitException
from openeo_driver.backend import ErrorSummary, OpenEoBackendImplementation
from openeo_driver.dummy.dummy_backend import DummyUserDefinedProcesses
from openeo_driver.ProcessGraphDeserializer import ConcreteProcessing
from openeo_driver.views import build_app

from .catalog import Catalog
from .downloads import fetch_dependencies
from .errors import RequestError
from .executor import ProcessExecutor, parse_memory
from .jobs import Jobs
from .spark import BATCH, SparkExecutor, shut_down
from .stac import load_stac

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from openeo_driver.backend import LoadParameters
    from openeo_driver.utils import EvalEnv

    from .chunking import Habits
    from .cube import Cube
    from .executor import Executor


NODE = 1_048_575
"""Bytes of a node of ZooKeeper, unless it is told otherwise."""


class StoredProcesses(DummyUserDefinedProcesses):
    """Processes that users save, each in one node of a store."""

    def save(self, user_id: str, process_id: str, spec: dict[str, Any]) -> None:
        size = len(json.dumps(spec))
        if size > NODE:
            raise RequestError(f"Process {process_id!r} takes {size} bytes; the store has {NODE} for each.")
        super().save(user_id, process_id, spec)


class Backend(OpenEoBackendImplementation):
    """See openeo-driver.

    Args:
        data: Folder of the sample scene.
        folder: For jobs and workers.
        executor: Of batch jobs, "process" or "spark"; synchronous calls always share two processes.
        batch: See :class:`~backend.spark.SparkExecutor`.
        onnxruntime: Archive of packages that the workers' image has; without it a job's own archives help.
        habits: How chunks are handed over.
    """

    def __init__(
        self,
        *,
        data: Path,
        folder: Path,
        executor: str = "process",
        batch: int = BATCH,
        onnxruntime: Path | None = None,
        habits: Habits,
    ) -> None:
        image = None
        if onnxruntime:
            image = folder / "image"
            shutil.unpack_archive(onnxruntime, image)
        make = partial(_processes, image=image)
        if executor == "spark":
            make = partial(_spark, folder=folder / "spark", batch=batch)
        jobs = Jobs(folder / "jobs", make)
        super().__init__(
            catalog=Catalog(data),
            batch_jobs=jobs,
            user_defined_processes=StoredProcesses(),
            processing=ConcreteProcessing(),
        )
        jobs.backend = self
        work = folder / "sync"
        work.mkdir()
        self.executor = ProcessExecutor(work, image=image)
        self.habits = habits

    def close(self) -> None:
        """Stop whatever runs, and its workers."""
        self.executor.cancel()
        self.batch_jobs.close()
        self.executor.close()
        shut_down()

    def summarize_exception(self, error: Exception) -> ErrorSummary | Exception:
        """A broken process graph is the user's mistake."""
        is_graph = isinstance(error, ProcessGraphVisitException)
        return ErrorSummary(error, is_client_error=True) if is_graph else error

    def file_formats(self) -> dict[str, Any]:
        raster = {"gis_data_types": ["raster"], "parameters": {}}
        output = {"GTiff": {**raster, "title": "GeoTIFF"}, "netCDF": raster, "JSON": raster}
        return {"input": {}, "output": output}

    def load_stac(self, url: str, load_params: LoadParameters, env: EvalEnv) -> Cube:
        return load_stac(url, load_params, env)


def _processes(options: dict[str, Any], folder: Path, *, image: Path | None) -> Executor:
    fetch_dependencies(options, folder)
    memory = options.get("python-memory")
    return ProcessExecutor(folder, memory=parse_memory(memory) if memory else None, image=image)


def _spark(options: dict[str, Any], _: Path, *, folder: Path, batch: int) -> Executor:
    return SparkExecutor(options, folder, batch=batch)


def application(backend: Backend, public: Path | None = None) -> flask.Flask:
    """The web application; ``public`` is served under /public/ as object storage would be."""
    app = build_app(backend_implementation=backend)
    if public:
        folder = public.resolve()
        app.add_url_rule(
            "/public/<path:name>", "public", lambda name: flask.send_from_directory(folder, name)
        )
    app.wsgi_app = _draining(app.wsgi_app, app.config["MAX_CONTENT_LENGTH"])
    return app


def _draining(application: Callable[..., Iterable[bytes]], limit: int) -> Callable[..., Iterable[bytes]]:
    """Read what is too large to the end, as the proxy before a back-end does: clients then see the answer."""

    def wrapped(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        left = int(environ.get("CONTENT_LENGTH") or 0)
        if left > limit:
            while left > 0 and (part := environ["wsgi.input"].read(min(left, 1 << 16))):
                left -= len(part)
        return application(environ, start)

    return wrapped
