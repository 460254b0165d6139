"""The back-end's services, put together, and the web application over them."""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import flask
from openeo_driver.backend import OpenEoBackendImplementation
from openeo_driver.dummy.dummy_backend import DummyUserDefinedProcesses
from openeo_driver.ProcessGraphDeserializer import ConcreteProcessing
from openeo_driver.views import build_app

from .catalog import Catalog
from .executor import ProcessExecutor, fetch_dependencies, parse_memory
from .jobs import Jobs
from .spark import SparkExecutor
from .stac import load_stac

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from openeo_driver.backend import LoadParameters
    from openeo_driver.utils import EvalEnv

    from .cube import Cube
    from .executor import Executor


class Backend(OpenEoBackendImplementation):
    """See openeo-driver.

    Args:
        data: Folder of the sample scene.
        folder: For jobs and workers.
        executor: Of batch jobs, "process" or "spark"; synchronous calls always share two processes.
        onnxruntime: Archive of packages that the workers' image has; without it a job's own archives help.
    """

    def __init__(
        self, *, data: Path, folder: Path, executor: str = "process", onnxruntime: Path | None = None
    ) -> None:
        image = None
        if onnxruntime:
            image = folder / "image"
            shutil.unpack_archive(onnxruntime, image)
        start = _start_spark if executor == "spark" else partial(_start_processes, image=image)
        jobs = Jobs(folder / "jobs", start)
        super().__init__(
            catalog=Catalog(data),
            batch_jobs=jobs,
            user_defined_processes=DummyUserDefinedProcesses(),
            processing=ConcreteProcessing(),
        )
        jobs.backend = self
        work = folder / "sync"
        work.mkdir()
        self.executor = ProcessExecutor(work, image=image)

    def file_formats(self) -> dict[str, Any]:
        raster = {"gis_data_types": ["raster"], "parameters": {}}
        output = {"GTiff": {**raster, "title": "GeoTIFF"}, "netCDF": raster, "JSON": raster}
        return {"input": {}, "output": output}

    def load_stac(self, url: str, load_params: LoadParameters, env: EvalEnv) -> Cube:
        return load_stac(url, load_params, env)


def _start_processes(options: dict[str, Any], folder: Path, *, image: Path | None) -> Executor:
    fetch_dependencies(options, folder)
    memory = options.get("python-memory")
    return ProcessExecutor(folder, memory=parse_memory(memory) if memory else None, image=image)


def _start_spark(options: dict[str, Any], folder: Path) -> Executor:  # noqa: ARG001
    return SparkExecutor(options)


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
