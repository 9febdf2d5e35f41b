"""Compressed columns, unpacked by several threads.

HDF5 has one lock for everything, and holds it while it unpacks, so that threads which read
through it wait for each other. Here HDF5 hands out packed chunks, and threads unpack them.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

DEFLATE: Final = h5py.h5z.FILTER_DEFLATE


def read_values(dataset: h5py.Dataset, threads: Executor | None = None) -> npt.NDArray[Any]:
    """Read a whole column of numbers, as `dataset[:]` does.

    Parameters
    ----------
    dataset : h5py.Dataset
        Of a file that is open.
    threads : Executor, optional
        To unpack what is compressed by gzip.

    Returns
    -------
    ndarray
        What `dataset[:]` returns; where it raises, so does this.
    """
    if threads is None or not _is_packed_column(dataset):
        return np.asarray(dataset[:])
    try:
        return _unpacked(dataset, threads)
    except (zlib.error, ValueError, RuntimeError, OSError):
        # damaged, or put together in a way that only HDF5 knows: let it read, or say what is wrong
        return np.asarray(dataset[:])


def _is_packed_column(dataset: h5py.Dataset) -> bool:
    """Say whether chunks are compressed by gzip alone, and hold plain numbers."""
    if dataset.ndim != 1 or dataset.chunks is None or dataset.dtype.kind not in "iuf":
        return False
    steps = dataset.id.get_create_plist()
    return bool(steps.get_nfilters() == 1 and steps.get_filter(0)[0] == DEFLATE)


def _unpacked(dataset: h5py.Dataset, threads: Executor) -> npt.NDArray[Any]:
    values = np.empty(dataset.shape, dtype=dataset.dtype)
    (length,), number = dataset.chunks, dataset.id.get_num_chunks()
    if number * length < values.size:
        values[:] = dataset.fillvalue  # where nothing was ever written

    def unpack(chunk: tuple[int, int, bytes]) -> None:
        start, skipped, content = chunk
        if not skipped & 1:  # bit 0: stored without the first, and only, filter
            content = zlib.decompress(content, bufsize=length * values.itemsize)
        found = np.frombuffer(content, dtype=values.dtype)
        if found.size != length:
            raise ValueError(f"a chunk holds {found.size} values, expected {length}")
        values[start : start + length] = found[: values.size - start]

    for _ in threads.map(unpack, _packed_chunks(dataset, number)):
        pass
    return values


def _packed_chunks(dataset: h5py.Dataset, number: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield where each chunk starts, the filters that it skips, and what it holds, packed."""
    for place in range(number):
        (start,) = dataset.id.get_chunk_info(place).chunk_offset
        yield (start, *dataset.id.read_direct_chunk((start,)))
