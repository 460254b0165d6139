"""Variables of NetCDF files: NetCDF-4, which is HDF5, through h5netcdf, and the classic formats."""

from __future__ import annotations

import math
import os
import struct
import zlib
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader

    import h5netcdf
    import h5py
    from numpy.typing import NDArray

HDF5 = b"\x89HDF\r\n\x1a\n"
CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
"""First bytes; the number is the version: offsets have 8 bytes from 2 on, counts from 5 on."""
TYPES = ("i1", "S1", ">i2", ">i4", ">f4", ">f8", "u1", ">u2", ">u4", ">i8", ">u8")
"""Of numbers in a classic file, from type 1 on."""
DIMENSIONS, VARIABLES, ATTRIBUTES = 10, 11, 12
"""Tags of the lists in the header of a classic file."""
LARGEST_HEADER = 16 << 20
"""Bytes of the largest header of a classic file that is read; real ones have some KiB."""
LARGEST_CHUNK = 256 << 20
"""Bytes of the largest chunk that is read: HDF5 unpacks it whole, however small the window is."""
MOST_PACKED, CHECKSUM = 1032, 4
"""How many times larger deflate makes bytes at most; bytes of a chunk's checksum."""

Slices = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """An array in a file, and how parts of it are read."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attrs: dict[str, Any]
    """Text as str, numbers as NumPy scalars or arrays."""
    read: Callable[[Slices], NDArray[Any]] = field(repr=False, compare=False)
    """From a slice per dimension, of step 1, to the numbers; OSError if they are not there."""

    def whole(self) -> NDArray[Any]:
        """All of it."""
        return self.read(tuple(slice(0, size) for size in self.shape))


def is_netcdf(path: str | os.PathLike[str]) -> bool:
    """Whether a file starts as NetCDF does."""
    with open(path, "rb") as file:  # noqa: PTH123  (one call for text and Path)
        start = file.read(8)
    return start == HDF5 or start[:4] in CLASSIC


@contextmanager
def opened_variables(path: str) -> Iterator[dict[str, Variable]]:
    """The variables of a file by name, to be read while it is open, from one thread at a time.

    Raises:
        OSError: If it is no complete NetCDF file, or would have other files read.
    """
    with open(path, "rb") as file:  # noqa: PTH123
        if file.read(4) in CLASSIC:
            try:
                variables = _classic_variables(file)
            except (struct.error, UnicodeDecodeError, IndexError, ValueError) as error:
                raise OSError(f"its header is damaged: {error}") from error
            yield variables
            return
    # they load in 0.1 s: for such files alone
    import h5netcdf  # noqa: PLC0415
    import h5py  # noqa: PLC0415

    with ExitStack() as stack:
        raw = stack.enter_context(_guarded(h5py.File, path, "r"))
        _guarded(_check_members, raw, h5py)
        groups = stack.enter_context(_guarded(h5netcdf.File, raw, "r", phony_dims="access"))
        yield _guarded(_hdf5_variables, groups, raw)


# ---- NetCDF-4


def _guarded(call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Damage in HDF5 may surface as any error of h5py's; all become OSError."""
    try:
        return call(*args, **options)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def _hdf5_variables(file: h5netcdf.File, raw: h5py.File) -> dict[str, Variable]:
    variables = {}
    for name, variable in file.variables.items():
        kind = np.dtype(object) if variable.dtype in {str, bytes} else np.dtype(variable.dtype)
        attrs = {key: _plain(value) for key, value in variable.attrs.items()}

        def read(
            slices: Slices, variable: h5netcdf.Variable = variable, member: h5py.Dataset = raw[name]
        ) -> NDArray[Any]:
            _guarded(_check_chunks, member, slices)
            numbers: NDArray[Any] = np.asarray(_guarded(variable.__getitem__, slices))
            return numbers

        # h5netcdf looks the shape up dimension by dimension, which takes long
        variables[str(name)] = Variable(tuple(variable.dimensions), raw[name].shape, kind, attrs, read)
    return variables


def _check_members(file: h5py.File, library: Any) -> None:
    """Refuse what HDF5 would read from other files, and chunks that don't fit into memory."""
    for name in file:
        if not isinstance(file.get(name, getlink=True), library.HardLink):
            raise OSError(f"its {name} is a link; expected numbers in this file")
        member = file[name]
        if not isinstance(member, library.Dataset):
            continue
        if member.external or member.is_virtual:
            raise OSError(f"its {name} is stored in other files; expected one file with all of it")
        filters = member.id.get_create_plist()
        kinds = [filters.get_filter(i)[0] for i in range(filters.get_nfilters())]
        if kinds.count(library.h5z.FILTER_DEFLATE) > 1:
            raise OSError(f"its {name} is packed twice; expected once")
        if member.chunks and math.prod(member.chunks) * member.dtype.itemsize > LARGEST_CHUNK:
            raise OSError(
                f"its {name} has chunks of {member.chunks} numbers, which don't fit into memory; "
                "expected at most 256 MiB: write it with smaller chunks"
            )


def _check_chunks(member: h5py.Dataset, slices: Slices) -> None:
    """Refuse chunks that unpack to more than they hold: HDF5 would give them any memory."""
    if member.compression != "gzip":
        return
    size = math.prod(member.chunks) * member.dtype.itemsize
    starts = [
        range(part.start // chunk * chunk, part.stop, chunk)
        for part, chunk in zip(slices, member.chunks, strict=True)
    ]
    for start in product(*starts):
        if (member.id.get_chunk_info_by_coord(start).size or 0) * MOST_PACKED <= LARGEST_CHUNK:
            continue
        unpacker = zlib.decompressobj()
        with suppress(zlib.error):  # HDF5 will say so
            unpacker.decompress(member.id.read_direct_chunk(start)[1], size + CHECKSUM)
        if unpacker.unconsumed_tail:
            raise OSError(f"its chunk at {start} unpacks to more than its {size} bytes")


def _plain(value: Any) -> Any:
    """An attribute, with bytes as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "iuf":
        return value.reshape(-1)[0]
    return value


# ---- the classic formats: https://docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html


class _Header:
    """A classic file's header, read from its start."""

    def __init__(self, file: BufferedReader) -> None:
        file.seek(0)
        self._content = file.read(LARGEST_HEADER)
        self._at = 4
        self.version = self._content[3]

    def take(self, size: int) -> bytes:
        """The next bytes; what follows starts on a multiple of four."""
        part = self._content[self._at : self._at + size]
        if size < 0 or len(part) < size:
            raise ValueError("it ends too early")
        self._at += size + -size % 4
        return part

    def number(self) -> int:
        """Four bytes."""
        return int(struct.unpack(">I", self.take(4))[0])

    def count(self) -> int:
        """How many; eight bytes from version 5 on."""
        return int(struct.unpack(">Q", self.take(8))[0]) if self.version == 5 else self.number()

    def offset(self) -> int:
        """Where in the file; eight bytes from version 2 on."""
        return int(struct.unpack(">Q", self.take(8))[0]) if self.version > 1 else self.number()

    def name(self) -> str:
        """Text after its length."""
        return self.take(self.count()).decode()

    def items(self, tag: int) -> range:
        """A list begins: a number for each of its items."""
        there, count = self.number(), self.count()
        if there not in {0, tag} or (not there and count) or count > len(self._content):
            raise ValueError(f"expected list {tag} in its header, got {there} with {count} items")
        return range(count)

    def kind(self) -> np.dtype[Any]:
        """A type of numbers."""
        number = self.number()
        if not 1 <= number <= len(TYPES):
            raise ValueError(f"its header has the unknown type {number}")
        return np.dtype(TYPES[number - 1])

    def attributes(self) -> dict[str, Any]:
        """Attributes by name."""
        attrs: dict[str, Any] = {}
        for _ in self.items(ATTRIBUTES):
            name, kind, count = self.name(), self.kind(), self.count()
            content = self.take(count * kind.itemsize)
            attrs[name] = (
                content.decode("utf-8", "replace").rstrip("\0")
                if kind.char == "S"
                else _plain(np.frombuffer(content, kind).astype(kind.newbyteorder("=")))
            )
        return attrs


def _classic_variables(file: BufferedReader) -> dict[str, Variable]:
    header = _Header(file)
    records = header.count()
    dims = [(header.name(), header.count()) for _ in header.items(DIMENSIONS)]
    header.attributes()
    found = []
    for _ in header.items(VARIABLES):
        name = header.name()
        axes = [dims[header.count()] for _ in range(header.count())]
        attrs, kind = header.attributes(), header.kind()
        header.count()  # its size, which is wrong for large variables
        found.append((name, axes, attrs, kind, header.offset()))
    # the dimension of length 0 is that of records, in which the variables that have it alternate
    sizes = [
        math.prod(size for _, size in axes[1:]) * kind.itemsize
        for _, axes, _, kind, _ in found
        if axes and not axes[0][1]
    ]
    record = sizes[0] if len(sizes) == 1 else sum(size + -size % 4 for size in sizes)
    end = os.fstat(file.fileno()).st_size
    variables = {}
    for name, axes, attrs, kind, begin in found:
        shape = tuple(size or records for _, size in axes)
        strides = [math.prod(shape[i + 1 :]) * kind.itemsize for i in range(len(shape))]
        if axes and not axes[0][1]:
            strides[0] = record
        stored = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + kind.itemsize
        if math.prod(shape) and begin + stored > end:
            raise ValueError(f"its {name} needs {begin + stored} bytes, but the file ends after {end}")
        read = _reader(file, kind, begin, strides)
        names = tuple(dim for dim, _ in axes)
        variables[name] = Variable(names, shape, kind.newbyteorder("="), attrs, read)
    return variables


def _reader(
    file: BufferedReader, kind: np.dtype[Any], begin: int, strides: list[int]
) -> Callable[[Slices], NDArray[Any]]:
    """How a classic variable is read, row by row."""

    def read(slices: Slices) -> NDArray[Any]:
        shape = [part.stop - part.start for part in slices]
        result = np.empty(shape, kind)
        # numbers of the last dimension lie side by side, unless they are records
        packed = bool(strides) and strides[-1] == kind.itemsize
        loops, length = (shape[:-1], shape[-1]) if packed else (shape, 1)
        start = begin + sum(part.start * stride for part, stride in zip(slices, strides, strict=True))
        rows = result.reshape(-1, length)
        for row, index in enumerate(product(*map(range, loops))):
            offset = start + sum(i * stride for i, stride in zip(index, strides, strict=False))
            file.seek(offset)
            content = file.read(length * kind.itemsize)
            if len(content) < length * kind.itemsize:
                raise OSError("it ends too early")
            rows[row] = np.frombuffer(content, kind)
        return result.astype(kind.newbyteorder("="))

    return read
