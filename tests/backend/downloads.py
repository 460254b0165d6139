"""Downloads: what jobs and graphs name by its URL."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from .errors import RequestError


def get(url: str) -> requests.Response:
    """What is there.

    Raises:
        RequestError: If nothing is.
    """
    try:
        response = requests.get(url, timeout=60)
    except requests.RequestException as error:
        raise RequestError(f"Could not read {url}: {type(error).__name__}.") from error
    if not response.ok:
        raise RequestError(f"Could not read {url}: {response.status_code} {response.reason}.")
    return response


def fetch_dependencies(options: dict[str, Any], folder: Path) -> None:
    """Put the archives and files of a job's options, each ``URL#name``, beside its workers."""
    for entry in options.get("udf-dependency-archives", []):
        source, name = _split(entry)
        archive = folder / f".{Path(urlsplit(source).path).name}"
        archive.write_bytes(get(source).content)
        try:
            shutil.unpack_archive(archive, folder / name)
        except shutil.ReadError as error:
            raise RequestError(f"{source} is no archive that can be unpacked.") from error
        archive.unlink()
    for entry in options.get("udf-dependency-files", []):
        source, name = _split(entry)
        (folder / name).write_bytes(get(source).content)


def _split(entry: str) -> tuple[str, str]:
    source, _, name = entry.partition("#")
    return source, name or Path(urlsplit(source).path).name
