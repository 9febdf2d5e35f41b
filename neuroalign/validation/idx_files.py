"""MNIST's idx files, read and checked without help."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Final

import numpy as np

from neuroalign.errors import DataError

UNSIGNED_BYTES: Final = 0x08
PARTS: Final = ("train", "t10k")
SIDE: Final = 28


def read_idx(path: str | Path) -> np.ndarray:
    """Read an idx file of unsigned bytes, compressed by gzip or not.

    Parameters
    ----------
    path : str or Path
        The file; whether it is compressed is seen from its first bytes, not from its name.

    Returns
    -------
    ndarray of uint8
        In the shape that the file's header states.

    Raises
    ------
    DataError
        If the file is missing, damaged, truncated, too long, or holds another type.

    References
    ----------
    LeCun, Bottou, Bengio & Haffner (1998), Gradient-based learning applied to document
    recognition (MNIST).

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "labels").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
    ...     read_idx(f"{folder}/labels")
    array([5, 0, 4], dtype=uint8)
    """
    file = Path(path).expanduser()
    try:
        content = file.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except FileNotFoundError as problem:
        raise DataError(f"{file} does not exist; give MNIST's four idx files.") from problem
    except (OSError, EOFError, zlib.error) as problem:
        raise DataError(f"{file} is damaged ({problem}); download it again.") from problem
    if len(content) < 4 or content[:2] != b"\x00\x00":
        raise DataError(f"{file} is no idx file: it does not begin with two zero bytes.")
    if content[2] != UNSIGNED_BYTES:
        raise DataError(
            f"{file} holds values of type 0x{content[2]:02x}; expected unsigned bytes (0x08)."
        )
    n_dimensions = content[3]
    header = 4 + 4 * n_dimensions
    if len(content) < header:
        raise DataError(f"{file} ends within its header; download it again.")
    shape = struct.unpack(f">{n_dimensions}I", content[4:header])
    expected = header + math.prod(shape)
    if len(content) != expected:
        raise DataError(
            f"{file} should have {expected} bytes for its shape {shape}, got {len(content)}; "
            "download it again."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def read_mnist(folder: str | Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read MNIST from its four idx files.

    Parameters
    ----------
    folder : str or Path
        Holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same for `t10k`, each
        with or without `.gz`; a dot before `idx` is understood too.

    Returns
    -------
    dict of str to (ndarray, ndarray)
        "train" and "t10k": images (image, row, column) of uint8, labels (image,).

    Raises
    ------
    DataError
        If a file is missing or damaged, or images and labels do not belong together.

    Examples
    --------
    >>> read_mnist("nowhere")
    Traceback (most recent call last):
    neuroalign.errors.DataError: nowhere holds none of train-images-idx3-ubyte, ...
    """
    root = Path(folder).expanduser()
    return {part: _part(root, part) for part in PARTS}


def _part(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    image_file, label_file = (
        _find(folder, f"{part}-images", "idx3-ubyte"),
        _find(folder, f"{part}-labels", "idx1-ubyte"),
    )
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise DataError(f"{image_file} must hold images of 28 x 28, got shape {images.shape}.")
    if labels.shape != images.shape[:1]:
        raise DataError(
            f"{label_file} has {labels.size} labels for {len(images)} images; they are not of "
            "one download."
        )
    if labels.size and labels.max() > 9:
        raise DataError(f"{label_file} has the label {labels.max()}; expected 0 to 9.")
    return images, labels


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{joint}{kind}{end}" for joint in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folder} holds none of {', '.join(names)}; give the folder of MNIST's files.")
