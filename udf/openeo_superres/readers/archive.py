"""Product folders and zips of them, read alike: what is in them, their XML, and their names for GDAL."""

from __future__ import annotations

import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING
from xml.etree import ElementTree as ET

from openeo_superres.errors import SceneError

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 64 << 20
"""Bytes of the largest metadata file that is read; real ones have 2 MiB at most."""
MOST_COMPRESSED = 100
"""Times that a zip may make a file larger than ``LARGEST`` smaller: images are compressed already."""
MOST_MEMBERS = 10_000
"""Of a zip; real products have some hundreds."""

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
        top = zipfile.Path(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise SceneError(f"{path} is no complete zip ({error}); download it again.") from error
    if len(top.root.filelist) > MOST_MEMBERS:
        raise SceneError(f"{path} has more than {MOST_MEMBERS} members; no product does.")
    return top


def children(folder: Member) -> Iterator[Member]:
    """What is in a folder, by name."""
    members: list[Member] = list(folder.iterdir())
    return iter(sorted(members, key=lambda member: member.name))


def file_size(file: Member) -> int:
    """Bytes of a file, unpacked.

    Raises:
        SceneError: If it is missing, or a zip bomb.
    """
    if isinstance(file, Path):
        try:
            return file.stat().st_size
        except OSError as error:
            raise SceneError(f"{file} can't be read: {error.strerror}; is the product complete?") from error
    try:
        entry = file.root.getinfo(file.at)
    except KeyError as error:
        raise SceneError(f"{file} is not in the zip; is the product complete?") from error
    if entry.file_size > max(LARGEST, MOST_COMPRESSED * entry.compress_size):
        raise SceneError(
            f"{file} would unpack {entry.compress_size} bytes to {entry.file_size}; no file of a Sentinel-2 "
            "product does."
        )
    return entry.file_size


@contextmanager
def unpacked(file: Member) -> Iterator[IO[bytes]]:
    """Open a file to read its bytes, and seek.

    Raises:
        SceneError: If it is missing, damaged, or a zip bomb; also while it is read.
    """
    file_size(file)
    try:
        with file.open("rb") as stream:
            yield stream
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        # an encrypted member of a zip is a RuntimeError
        reason = getattr(error, "strerror", None) or error
        raise SceneError(f"{file} can't be read: {reason}; is the product complete?") from error
    except Exception as error:
        if type(error).__module__ != "zlib":
            raise
        raise SceneError(f"{file} is damaged in its zip ({error}); download it again.") from error


def read_bytes(file: Member) -> bytes:
    """The content of a metadata file.

    Raises:
        SceneError: If it is missing, damaged or far too large.
    """
    with unpacked(file) as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise SceneError(f"{file} has more than {LARGEST >> 20} MiB; expected a metadata file of a product.")
    return content


class _Plain(ET.TreeBuilder):
    """Builds a document that has no document type, whatever its encoding."""

    def doctype(self, *_: str | None) -> None:
        """Called by the parser before anything that a document type declares."""
        raise TypeError


def read_xml(file: Member) -> ET.Element:
    """The root of an XML file; its namespaces stay in the tags.

    Raises:
        SceneError: If it can't be read, is no XML, or has a document type, which no product needs.
    """
    content = read_bytes(file)
    try:
        # without a document type there are neither entities nor bombs
        return ET.fromstring(content, ET.XMLParser(target=_Plain()))  # noqa: S314
    except TypeError as error:
        raise SceneError(
            f"{file} declares a document type or entities; no Sentinel-2 product does."
        ) from error
    except (ET.ParseError, ValueError, LookupError) as error:  # the latter: encodings that nobody knows
        raise SceneError(f"{file} is no complete XML ({error}); download the product again.") from error


def gdal_name(file: Member) -> str:
    """A file's name for GDAL, which reads members of a zip in place."""
    if isinstance(file, zipfile.Path):
        return f"/vsizip/{{{file.root.filename}}}/{file.at}"
    return str(file)
