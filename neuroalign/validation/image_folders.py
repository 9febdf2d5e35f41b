"""Images from files: backgrounds of any size, and ready-made PolyMNIST folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from neuroalign.errors import DataError

SIDE: Final = 28
ENDINGS: Final = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_NAMED: Final = re.compile(r"(\d+)\.(\d+)\.png")


def read_image(path: Path) -> np.ndarray:
    """Read an image as (channel, height, width) of uint8 in red, green, blue.

    Raises
    ------
    DataError
        If the file is missing or no image; the message names it.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("RGB"))
    except FileNotFoundError as problem:
        raise DataError(f"{path} does not exist.") from problem
    except (OSError, UnidentifiedImageError, SyntaxError) as problem:
        raise DataError(f"{path} is no readable image ({problem}).") from problem
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_backgrounds(where: str | Path | Sequence[str | Path]) -> dict[str, np.ndarray]:
    """Read background images, by the names of their files.

    Parameters
    ----------
    where : path or sequence of paths
        A folder, whose images are taken in the order of their names, or the files themselves.

    Raises
    ------
    DataError
        If there are none, or one is smaller than 28 x 28.
    """
    if isinstance(where, str | Path):
        folder = Path(where)
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder; give one with background images.")
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in ENDINGS)
        if not files:
            raise DataError(f"{folder} holds no image ({', '.join(ENDINGS)}).")
    else:
        files = [Path(one) for one in where]
    images = {}
    for file in files:
        image = read_image(file)
        if min(image.shape[1:]) < SIDE:
            raise DataError(
                f"{file} is {image.shape[2]} x {image.shape[1]} pixels; a background needs at "
                f"least {SIDE} x {SIDE}."
            )
        if file.stem in images:
            raise DataError(f"two backgrounds are called {file.stem!r}; rename one.")
        images[file.stem] = image
    return images


def read_polymnist_part(
    folder: Path, views: Sequence[str], limit: int | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read one part (train or test) of a ready-made PolyMNIST folder.

    A file `m0/17.3.png` is row 17 of view m0 and shows a 3. Rows are taken in the order of
    their numbers; all views must have the same rows with the same labels.

    Parameters
    ----------
    folder : Path
        Holds a folder for each view.
    views : sequence of str
        Names of these folders.
    limit : int, optional
        Read the first rows only.

    Returns
    -------
    dict of str to ndarray of uint8
        By view, (row, channel, height, width).
    ndarray of int64
        (row,), the digits.

    Raises
    ------
    DataError
        If a folder, a partner or an image is missing or wrong; the message names the file.
    """
    listed = {view: _listed(folder / view) for view in views}
    first = listed[views[0]]
    for view in views[1:]:
        _check_partners(folder, views[0], first, view, listed[view])
    rows = sorted(first)[:limit]
    images = {}
    for view in views:
        paths = [folder / view / f"{row}.{first[row]}.png" for row in rows]
        images[view] = np.stack([_view_image(path) for path in paths])
    return images, np.array([first[row] for row in rows], dtype=np.int64)


def _listed(folder: Path) -> dict[int, int]:
    """Return the label of every row that has a file."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; expected one view of PolyMNIST, with 0.3.png ….")
    labels: dict[int, int] = {}
    for file in folder.iterdir():
        named = _NAMED.fullmatch(file.name)
        if named is None:
            if file.suffix == ".png":
                raise DataError(f"{file} is not named row.label.png, as 17.3.png is.")
            continue
        row, label = int(named[1]), int(named[2])
        if row in labels:
            raise DataError(f"{folder} has two images of row {row}; remove one.")
        if label > 9:
            raise DataError(f"{file} has the label {label}; expected 0 to 9.")
        labels[row] = label
    if not labels:
        raise DataError(f"{folder} holds no image named row.label.png.")
    return labels


def _check_partners(
    folder: Path, one: str, first: dict[int, int], other: str, second: dict[int, int]
) -> None:
    for row in sorted(first.keys() ^ second.keys()):
        has, lacks = (one, other) if row in first else (other, one)
        label = (first | second)[row]
        raise DataError(f"{folder / has / f'{row}.{label}.png'} has no partner in {lacks}.")
    for row in sorted(first):
        if first[row] != second[row]:
            raise DataError(
                f"row {row} shows a {first[row]} in {one} and a {second[row]} in {other} "
                f"({folder / other / f'{row}.{second[row]}.png'}); rows must share their digit."
            )


def _view_image(path: Path) -> np.ndarray:
    image = read_image(path)
    if image.shape[1:] != (SIDE, SIDE):
        raise DataError(
            f"{path} is {image.shape[2]} x {image.shape[1]} pixels, expected {SIDE} x {SIDE}."
        )
    return image
