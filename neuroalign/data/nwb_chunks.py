"""Compressed columns read so that several files can be unpacked at a time.

HDF5 has one lock for all files of a process, and holds it while it unpacks, so threads that read
through it wait for each other. Here only the packed chunks are read under the lock.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

DEFLATE: Final = h5py.h5z.FILTER_DEFLATE


def read_values(dataset: h5py.Dataset) -> npt.NDArray[Any]:
    """Read a whole column of numbers, as `dataset[:]` does.

    Parameters
    ----------
    dataset : h5py.Dataset
        Of a file that is open.

    Returns
    -------
    ndarray
        What `dataset[:]` returns; where it raises, so does this.
    """
    if not _is_packed_column(dataset):
        return np.asarray(dataset[:])
    try:
        return _unpacked(dataset)
    except (zlib.error, ValueError, RuntimeError, OSError):
        # damaged, or put together in a way that only HDF5 knows: let it read, or say what is wrong
        return np.asarray(dataset[:])


def _is_packed_column(dataset: h5py.Dataset) -> bool:
    """Say whether chunks are compressed by gzip alone, and hold plain numbers."""
    if dataset.ndim != 1 or dataset.chunks is None or dataset.dtype.kind not in "iuf":
        return False
    steps = dataset.id.get_create_plist()
    return bool(steps.get_nfilters() == 1 and steps.get_filter(0)[0] == DEFLATE)


def _unpacked(dataset: h5py.Dataset) -> npt.NDArray[Any]:
    values = np.full(dataset.shape, dataset.fillvalue, dtype=dataset.dtype)
    (length,) = dataset.chunks
    for number in range(dataset.id.get_num_chunks()):
        (start,) = dataset.id.get_chunk_info(number).chunk_offset
        skipped, packed = dataset.id.read_direct_chunk((start,))
        # bit 0: this chunk was stored without the first, and only, filter
        content = (
            packed
            if skipped & 1
            else zlib.decompress(packed, bufsize=length * dataset.dtype.itemsize)
        )
        chunk = np.frombuffer(content, dtype=dataset.dtype)
        if chunk.size != length:
            raise ValueError(f"a chunk holds {chunk.size} values, expected {length}")
        values[start : start + length] = chunk[: values.size - start]
    return values
