"""Whether the files of a SAFE product are those that were made: checksums of its manifest."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from openeo_superres.errors import SceneError

from .archive import read_xml, unpacked
from .safe import find_product
from .safexml import needed_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .archive import Member

CHECKSUMS = {"MD5": "md5", "SHA3-256": "sha3_256", "SHA-256": "sha256"}
"""Python's names of the manifest's checksumName."""
CHUNK = 1 << 20
"""Bytes that are read at once."""
NAMED = 3
"""Files that an error names at most."""


def verify(source: str | Path) -> int:
    """Compare the files of a SAFE product with the checksums in its manifest.

    JPEG 2000 has no checksum of its own: of a byte that flipped, nothing else tells.

    Args:
        source: What :func:`openeo_superres.scene.open_scenes` takes for a SAFE product, folder or zip.

    Returns:
        Number of files that are as they were made. Files that are listed but not there (previews, reports)
        are left out, unless a reader needs them.

    Raises:
        SceneError: If a file differs, one that is needed is missing or not listed, or there is no manifest.
    """
    path = Path(source)
    try:
        path = path.absolute()
        path.stat()
        found = find_product(path)
    except (OSError, ValueError) as error:
        if isinstance(error, SceneError):
            raise
        raise SceneError(f"{path} can't be opened: {getattr(error, 'strerror', None) or error}.") from error
    if found is None or not found[0].joinpath("manifest.safe").is_file():
        raise SceneError(
            f"{path} has no manifest.safe, so its files can't be verified; expected a complete SAFE product."
        )
    root, _ = found
    listed = {name: (algorithm, value) for name, algorithm, value in _checksums(root)}
    needed = needed_files(root)
    problems = [f"{name} is not listed" for name in sorted(needed - listed.keys())]
    count = 0
    # what is needed comes first, to be named
    for name in sorted(listed, key=lambda name: (name not in needed, name)):
        algorithm, value = listed[name]
        file = root.joinpath(name)
        if not file.is_file():
            problems += [f"{name} is missing"] * (name in needed)
            continue
        count += 1
        try:
            same = _digest(file, algorithm) == value.lower()
        except SceneError as error:
            problems.append(str(error))
            continue
        if not same:
            problems.append(f"{name} differs from its {algorithm} checksum")
    if problems:
        more = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        raise SceneError(
            f"{path} is not as it was made: {'; '.join(problems[:NAMED])}{more}. Download it again."
        )
    return count


def _checksums(root: Member) -> Iterator[tuple[str, str, str]]:
    """Path below the product's folder, algorithm and value of every file in the manifest."""
    manifest = root.joinpath("manifest.safe")
    for stream in read_xml(manifest).iter("byteStream"):
        location, checksum = stream.find("fileLocation"), stream.find("checksum")
        if location is None or checksum is None:
            continue
        name = PurePosixPath(location.get("href", ""))
        if name.is_absolute() or ".." in name.parts or not name.parts:
            raise SceneError(f'{manifest} lists "{name}"; expected a path below the product.')
        algorithm = checksum.get("checksumName", "")
        if algorithm not in CHECKSUMS:
            raise SceneError(
                f'{manifest} has a checksum "{algorithm}" of {name}; expected {" or ".join(CHECKSUMS)}.'
            )
        yield str(name), algorithm, (checksum.text or "").strip()


def _digest(file: Member, algorithm: str) -> str:
    digest = hashlib.new(CHECKSUMS[algorithm], usedforsecurity=False)
    with unpacked(file) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
