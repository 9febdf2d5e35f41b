"""Images from files: backgrounds of any size, and ready-made PolyMNIST folders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from neuroalign.errors import DataError

Row = tuple[int, int]  # number within its class, and class

SIDE: Final = 28
ENDINGS: Final = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_NAMED: Final = re.compile(r"(\d+)\.(\d+)\.png")


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as (channel, height, width) of uint8 in red, green, blue.

    Parameters
    ----------
    path : str or Path
        Any image of 8 bits a channel that Pillow opens; grey ones become colour.

    Raises
    ------
    DataError
        If the file is missing, no image, or of more than 8 bits; the message names it.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (30, 40), 7).save(f"{folder}/grey.png")
    ...     read_image(f"{folder}/grey.png").shape
    (3, 40, 30)
    """
    from PIL import Image

    try:
        with Image.open(path) as opened:
            mode = opened.mode
            pixels = np.asarray(opened.convert("RGB"))
    except FileNotFoundError as problem:
        raise DataError(f"{path} does not exist.") from problem
    # Pillow reports a damaged file by any of these
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as problem:
        raise DataError(f"{path} is no readable image ({problem}).") from problem
    if mode.startswith(("I", "F")):  # Pillow would cut such values off at 255
        raise DataError(
            f"{path} has more than 8 bits a channel (Pillow's mode {mode}); save it with 8."
        )
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_backgrounds(where: str | Path | Sequence[str | Path]) -> dict[str, np.ndarray]:
    """Read background images, by the names of their files.

    Parameters
    ----------
    where : path or sequence of paths
        A folder, whose images are taken in the order of their names, or the files themselves.

    Returns
    -------
    dict of str to ndarray of uint8
        By the file's name without its ending, (channel, height, width).

    Raises
    ------
    DataError
        If there are none, or one is smaller than 28 x 28.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (30, 40)).save(f"{folder}/sky.png")
    ...     list(read_backgrounds(folder))
    ['sky']
    """
    if isinstance(where, str | Path):
        folder = Path(where).expanduser()
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder; give one with background images.")
        files = sorted(f for f in _visible(folder) if f.suffix.lower() in ENDINGS)
        if not files:
            raise DataError(f"{folder} holds no image ({', '.join(ENDINGS)}).")
    else:
        files = [Path(one).expanduser() for one in where]
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


def list_polymnist_part(folder: Path, views: Sequence[str]) -> list[Row]:
    """List the rows of one part (train or test) of a ready-made PolyMNIST folder.

    A file ``m0/17.3.png`` shows a 3, the one with number 17. The published programs count
    within each class, so that ``17.3.png`` and ``17.4.png`` are two rows; a row is known by
    number and label together, and its views are the files of one name.

    Parameters
    ----------
    folder : Path
        Holds a folder for each view.
    views : sequence of str
        Names of these folders.

    Returns
    -------
    list of (int, int)
        Number and label, in this order and not in that of the directory.

    Raises
    ------
    DataError
        If a folder or a partner is missing, or names or labels are wrong; the message names
        the file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "m0").mkdir()
    ...     for name in ("10.4.png", "2.4.png", "2.3.png"):
    ...         Path(folder, "m0", name).touch()
    ...     list_polymnist_part(Path(folder), ["m0"])
    [(2, 3), (2, 4), (10, 4)]
    """
    first = _listed(folder / views[0])
    for view in views[1:]:
        _check_partners(first, _listed(folder / view), (views[0], view))
    return sorted(first)


def read_polymnist_rows(
    folder: Path, views: Sequence[str], rows: Sequence[Row]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read rows of one part of a ready-made PolyMNIST folder.

    Parameters
    ----------
    folder : Path
        Holds a folder for each view.
    views : sequence of str
        Names of these folders.
    rows : sequence of (int, int)
        Number and label, as `list_polymnist_part` lists them, in any order.

    Returns
    -------
    dict of str to ndarray of uint8
        By view, (row, channel, height, width).
    ndarray of int64
        (row,), the digits.

    Raises
    ------
    DataError
        If an image is damaged or not 28 x 28; the message names the file.

    Examples
    --------
    See `neuroalign.validation.polymnist.polymnist`.
    """
    images = {}
    for view in views:
        files = _listed(folder / view)
        images[view] = np.empty((len(rows), 3, SIDE, SIDE), dtype=np.uint8)
        for image, row in zip(images[view], rows, strict=True):
            image[:] = _view_image(files[row])
    return images, np.array([label for _, label in rows], dtype=np.int64)


def _visible(folder: Path) -> Iterator[Path]:
    """Yield what is in a folder without hidden files, such as those macOS packs beside images."""
    return (file for file in folder.iterdir() if not file.name.startswith("."))


def _listed(folder: Path) -> dict[Row, Path]:
    """Return the file of every row of one view."""
    if folder.with_suffix(".pt").is_file() and not folder.is_dir():
        raise DataError(
            f"{folder.with_suffix('.pt')} holds tensors of torch; expected the folder "
            f"{folder} with images such as 0.3.png, as PolyMNIST was first published."
        )
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; expected one view of PolyMNIST, with 0.3.png ….")
    files: dict[Row, Path] = {}
    for file in _visible(folder):
        if file.suffix.lower() != ".png":
            continue
        named = _NAMED.fullmatch(file.name)
        if named is None:
            raise DataError(f"{file} is not named row.label.png, as 17.3.png is.")
        row = int(named[1]), int(named[2])
        if row in files:
            raise DataError(f"{file} and {files[row].name} are one row; remove one.")
        if row[1] > 9:
            raise DataError(f"{file} has the label {row[1]}; expected 0 to 9.")
        files[row] = file
    if not files:
        raise DataError(f"{folder} holds no image named row.label.png.")
    return files


def _check_partners(
    first: Mapping[Row, Path], second: Mapping[Row, Path], views: tuple[str, str]
) -> None:
    """Fail where a row has no partner, and say so if the partner has another label instead."""
    lonely = sorted(first.keys() ^ second.keys())
    if not lonely:
        return
    in_second = {row[0]: row for row in lonely if row in second}
    for row in (row for row in lonely if row in first):
        if row[0] in in_second:
            other = in_second[row[0]]
            raise DataError(
                f"row {row[0]} shows a {row[1]} in {views[0]} and a {other[1]} in {views[1]} "
                f"({second[other]}); rows must share their digit."
            )
    row = lonely[0]
    file, lacks = (first[row], views[1]) if row in first else (second[row], views[0])
    raise DataError(f"{file} has no partner in {lacks}; rows need an image in every view.")


def _view_image(path: Path) -> np.ndarray:
    image = read_image(path)
    if image.shape[1:] != (SIDE, SIDE):
        raise DataError(
            f"{path} is {image.shape[2]} x {image.shape[1]} pixels, expected {SIDE} x {SIDE}."
        )
    return image
