"""Product folders and zips of them, read alike: what is in them, their XML, and their names for GDAL."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from .errors import SceneError

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 64 << 20
"""Bytes of the largest metadata file that is read; real ones have 2 MiB at most."""

Member = Path | zipfile.Path
"""A file or folder on disk, or in a zip."""


def product_root(path: Path) -> Member | None:
    """A folder itself, or the top of a zip; None for any other file.

    Raises:
        SceneError: If it is a zip that can't be read.
    """
    if path.is_dir():
        return path
    if path.suffix.lower() != ".zip" and not zipfile.is_zipfile(path):
        return None
    try:
        return zipfile.Path(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise SceneError(f"{path} is no complete zip ({error}); download it again.") from error


def children(folder: Member) -> Iterator[Member]:
    """What is in a folder, by name."""
    members: list[Member] = list(folder.iterdir())
    return iter(sorted(members, key=lambda member: member.name))


def read_bytes(file: Member) -> bytes:
    """The content of a metadata file.

    Raises:
        SceneError: If it is missing, damaged or far too large.
    """
    try:
        with file.open("rb") as stream:
            content: bytes = stream.read(LARGEST + 1)
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, KeyError) as error:
        # a missing member of a zip is a KeyError, an encrypted one a RuntimeError
        reason = getattr(error, "strerror", None) or error
        raise SceneError(f"{file} can't be read: {reason}; is the product complete?") from error
    except Exception as error:
        if type(error).__module__ != "zlib":
            raise
        raise SceneError(f"{file} is damaged in its zip ({error}); download it again.") from error
    if len(content) > LARGEST:
        raise SceneError(f"{file} has more than {LARGEST >> 20} MiB; expected a metadata file of a product.")
    return content


def read_xml(file: Member) -> ET.Element:
    """The root of an XML file; its namespaces stay in the tags.

    Raises:
        SceneError: If it can't be read, is no XML, or has a document type, which no product needs.
    """
    content = read_bytes(file)
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise SceneError(f"{file} declares a document type or entities; no Sentinel-2 product does.")
    try:
        return ET.fromstring(content)  # noqa: S314  (no document type: neither entities nor bombs)
    except ET.ParseError as error:
        raise SceneError(f"{file} is no complete XML ({error}); download the product again.") from error


def gdal_name(file: Member) -> str:
    """A file's name for GDAL, which reads members of a zip in place."""
    if isinstance(file, zipfile.Path):
        return f"/vsizip/{{{file.root.filename}}}/{file.at}"
    return str(file)
