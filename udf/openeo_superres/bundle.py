"""What a back-end needs beside the UDF: weights, onnxruntime, memory; as archives and job options."""

from __future__ import annotations

import hashlib
import math
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .card import DEFAULT_MODEL, ModelCard, load_card
from .errors import ModelError, OutputError, ProcessError
from .output import replacing
from .udf import DEPENDENCIES, pack_weights

DEFAULT_SIZE = 512
"""Edge of a chunk in 10 m pixels, without overlap. With the default model 1.21 times as many pixels are
computed (at 256: 1.45 times, at 768: 1.14 times)."""
WORKERS = 2
"""That an executor is given memory for: Spark shares "python-memory" out to them."""
WORKER_BYTES = 400 << 20
"""Virtual memory of a worker with its packages and an opened model; measured as the next ones."""
CHUNK_BYTES = 800
"""What the UDF takes for each pixel of a chunk, overlap included, beside the network."""
NETWORK_BYTES = 16_000
"""The same for a network that was not measured: as much as the largest that is shipped."""
UNDERSCORED = frozenset(
    {
        "driver_cores",
        "driver_memory",
        "driver_memoryOverhead",
        "executor_cores",
        "executor_memory",
        "executor_memoryOverhead",
        "image_name",
        "logging_threshold",
        "max_executors",
        "python_memory",
        "soft_errors",
        "task_cpus",
        "udf_dependency_archives",
        "udf_dependency_files",
    }
)
"""Job options whose own names have hyphens; others, such as node_caching, have underscores."""
REQUEST_LIMIT = 2 << 20
"""Bytes of a request that back-ends take (HTTP 413 beyond)."""
MODELS = "superres_models"
"""Folder that a back-end unpacks a model's archive to, unless the URL's fragment names another."""
PUBLIC_ONNXRUNTIME = (
    f"https://s3.waw3-1.cloudferro.com/swift/v1/project_dependencies/onnx_deps_python311.zip#{DEPENDENCIES}"
)
"""The archive with onnxruntime that services on the Copernicus Data Space Ecosystem use."""
ONNXRUNTIME_VERSION = "1.20.1"
ONNXRUNTIME_SHA256 = "5eec64c0269dcdb8d9a9a53dc4d64f87b9e0c19801d9321246a53b7eb5a7d1bc"
"""Of the wheel: Python 3.11, Linux x86_64, glibc 2.27 or later; fits numpy 1 and 2, reports nothing home."""
ESSENTIAL = ("__init__.py", "LICENSE", "ThirdPartyNotices.txt")
"""What of the package inference needs (and its licence), beside the modules and the library in ``capi``."""
PLACEHOLDER = "https://HOST/FOLDER"
HOST_IT = (
    "Make an archive with 'openeo-superres bundle', put it where the back-end can fetch it, and give its URL "
    "as weights, to superresolve and to job_options."
)


def job_options(
    model: str | Path | ModelCard = DEFAULT_MODEL,
    *,
    size: int = DEFAULT_SIZE,
    weights: str = "auto",
    onnxruntime: str | None = PUBLIC_ONNXRUNTIME,
    **overrides: Any,
) -> dict[str, Any]:
    """Options of a batch job that super-resolves: archives, and memory as measured.

    Args:
        model: A shipped model's name, the path of a card, or a card.
        size: As given to :func:`openeo_superres.superresolve`.
        weights: Likewise.
        onnxruntime: URL of an archive with onnxruntime, unpacked to the folder "onnx_deps"; None where the
            back-end's image has onnxruntime.
        overrides: Further options, or other values: ``python_memory="4g"`` for "python-memory". Archives are
            added to those that are needed. None takes an option out.

    Returns:
        What ``execute_batch`` and ``create_job`` take as ``job_options``.

    Raises:
        UnknownModelError: If there is no such model.
        ProcessError: If an archive's URL is none, or the weights are too large to travel in the request.
    """
    card = load_card(model)
    archives = [] if onnxruntime is None else [archive_entry("onnxruntime", onnxruntime, DEPENDENCIES)]
    if archives and not archives[0].endswith(f"#{DEPENDENCIES}"):
        raise ProcessError(
            f"The UDF looks for onnxruntime in the folder {DEPENDENCIES!r}; got {onnxruntime!r}."
        )
    if "model" in weights_context(card, weights):
        archives.append(archive_entry("weights", weights, MODELS))
    pixels = (size + 2 * card.margin) ** 2
    worker = WORKER_BYTES + (CHUNK_BYTES + (card.memory or NETWORK_BYTES)) * pixels
    options: dict[str, Any] = {
        # of the Java side, as usual for UDFs on tiles
        "executor-memory": "2g",
        "executor-memoryOverhead": "1g",
        "python-memory": f"{max(2, math.ceil(WORKERS * worker / 2**30))}g",
    }
    options |= {
        name.replace("_", "-") if name in UNDERSCORED else name: overrides[name] for name in overrides
    }
    archives += options.pop("udf-dependency-archives", None) or []
    options["udf-dependency-archives"] = archives or None
    return {name: value for name, value in options.items() if value is not None}


def weights_context(card: ModelCard, weights: str) -> dict[str, str]:
    """What the UDF's context says of the weights: they themselves, or where the back-end finds them.

    Raises:
        ModelError: If the weights are not those of the card.
        ProcessError: If the archive's URL is none, or the weights are too large to travel in the request.
    """
    if weights not in {"auto", "inline"}:
        folder = archive_entry("weights", weights, MODELS).rpartition("#")[2]
        if folder == DEPENDENCIES:
            raise ProcessError(f"The folder {DEPENDENCIES!r} is for onnxruntime; give the weights another.")
        return {"model": f"{folder}/{card.path.name}"}
    packed = _packed_weights(card)
    if weights == "auto" and len(packed) > REQUEST_LIMIT // 2:
        raise ProcessError(
            f"Model {card.name} takes {len(packed) / 2**20:.1f} MiB of a request, of which back-ends take "
            f"{REQUEST_LIMIT / 2**20:.0f} MiB in all. {HOST_IT}"
        )
    return {"weights": packed}


def archive_entry(argument: str, url: str, folder: str) -> str:
    """An archive as ``udf-dependency-archives`` lists it: its URL, and the folder it is unpacked to.

    Args:
        argument: What is given, for the error.
        url: Of the archive, with the folder as its fragment or without.
        folder: Where there is no fragment.

    Raises:
        ProcessError: If it is no URL, or its fragment no name of a folder.
    """
    address, _, fragment = url.partition("#") if isinstance(url, str) else ("", "", "")
    if not re.fullmatch(r"https?://[^\s/]+/\S+", address):
        instead = " ('auto' and 'inline' are known, too)" if argument == "weights" else ""
        raise ProcessError(
            f"Expected the URL of an archive (https://...) as {argument}{instead}, got {url!r}."
        )
    if fragment and not re.fullmatch(r"\w[\w.-]*", fragment):
        raise ProcessError(f"Expected the name of a folder after # in {url!r}, got {fragment!r}.")
    return f"{address}#{fragment or folder}"


# ---- archives


@dataclass(frozen=True, slots=True)
class Archive:
    """A file to put where a back-end can fetch it."""

    path: Path
    sha256: str
    size: int
    """In bytes."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """The archives of a model, and how to use them."""

    model: Archive
    onnxruntime: Archive
    weights: str
    """The model archive's URL, to be given as ``weights``."""
    job_options: dict[str, Any]


def bundle(
    folder: str | Path,
    model: str | Path | ModelCard = DEFAULT_MODEL,
    *,
    url: str = PLACEHOLDER,
    wheel: str | Path | None = None,
) -> Bundle:
    """Write the archives of a model and of onnxruntime for a back-end with Python 3.11 on Linux.

    The same input gives the same bytes: entries are sorted and carry no time. Files of an earlier run are
    replaced.

    Args:
        folder: Where to write; made if it is not there.
        model: A shipped model's name, the path of a card, or a card.
        url: Where the archives will be found.
        wheel: An onnxruntime wheel for the back-end's Python; None to download version 1.20.1 with pip.

    Raises:
        UnknownModelError: If there is no such model.
        ModelError: If its weights are not those of its card.
        OutputError: If the folder can't be written, the wheel can't be read or downloaded.
        ProcessError: If the address is none.
    """
    card = load_card(model)
    weights = _checked_weights(card)
    base = url.rstrip("/")
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", base):
        raise ProcessError(f"Expected where the archives will be found (https://...) as url, got {url!r}.")
    folder = Path(folder)
    card_file = card.path.with_suffix(".json")
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(wheel) if wheel is not None else _download(Path(temporary))
        runtime = _essentials(source)
    # name, version, Python: the parts of a wheel's name
    name = "-".join(source.stem.split("-")[:3])
    try:
        entries = {card.path.name: weights, card_file.name: card_file.read_bytes()}
        folder.mkdir(parents=True, exist_ok=True)
        ours = _write(folder / f"{card.name}-{card.sha256[:8]}.zip", entries)
        theirs = _write(folder / f"{name}.zip", runtime)
    except OSError as error:
        raise OutputError(f"The archives can't be written to {folder}: {error.strerror}.") from error
    address = f"{base}/{ours.path.name}"
    options = job_options(card, weights=address, onnxruntime=f"{base}/{theirs.path.name}")
    return Bundle(ours, theirs, address, options)


@lru_cache(maxsize=4)
def _packed_weights(card: ModelCard) -> str:
    """Packing takes a tenth of a second; a graph and its job options both ask."""
    return pack_weights(_checked_weights(card))


def _checked_weights(card: ModelCard) -> bytes:
    content = card.read_weights()
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise ModelError(f"{card.path} is not the file that its card describes: the SHA-256 differ.")
    return content


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11", "--abi=cp311"]
    command += ["--platform=manylinux_2_27_x86_64", f"--dest={folder}", f"onnxruntime=={ONNXRUNTIME_VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise OutputError(
            f"onnxruntime {ONNXRUNTIME_VERSION} can't be downloaded with pip ({reason}). Give its wheel for "
            "Python 3.11 on Linux as --wheel."
        )
    found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if found != ONNXRUNTIME_SHA256:
        raise OutputError(f"{wheels[0].name} has SHA-256 {found}, expected {ONNXRUNTIME_SHA256}.")
    return wheels[0]


def _essentials(wheel: Path) -> dict[str, bytes]:
    """What inference needs of an onnxruntime wheel: a tenth of its files, half of its bytes."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            entries = {
                name: archive.read(name) for name in archive.namelist() if _is_essential(Path(name).parts)
            }
    except (OSError, zipfile.BadZipFile) as error:
        raise OutputError(f"{wheel} can't be read as a wheel: {error}") from error
    if "onnxruntime/__init__.py" not in entries or not any(name.endswith(".so") for name in entries):
        raise OutputError(f"{wheel} holds no onnxruntime for Linux.")
    return entries


def _is_essential(parts: tuple[str, ...]) -> bool:
    match parts:
        case ("onnxruntime", name):
            return name in ESSENTIAL
        case ("onnxruntime", "capi", name):
            # libonnxruntime.so is for programs in C
            return name.endswith((".py", ".so")) and not name.startswith("libonnxruntime.so")
    return False


def _write(path: Path, entries: dict[str, bytes]) -> Archive:
    """Write an archive that depends on its entries alone, and appears whole or not at all."""
    with replacing(path) as part:
        with zipfile.ZipFile(part, "w") as archive:
            for name, content in sorted(entries.items()):
                info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                info.create_system, info.external_attr = 3, 0o644 << 16
                archive.writestr(info, content, zipfile.ZIP_DEFLATED, compresslevel=9)
        content = part.read_bytes()
    return Archive(path, hashlib.sha256(content).hexdigest(), len(content))
