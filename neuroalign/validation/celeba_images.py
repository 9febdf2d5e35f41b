"""Images of CelebA: the crop, the size, and a cache of the result."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final
from zipfile import BadZipFile

import numpy as np

from neuroalign.errors import DataError

CROP: Final = 148  # pixels of the aligned image, around its centre
SIZE: Final = 64  # pixels after resizing
CACHE_FORMAT: Final = 1
IMAGES: Final = "img_align_celeba"
BATCH: Final = 64  # images that a thread reads at a time


def load_images(
    root: Path, files: Sequence[str], cache: str | Path | None, n_threads: int, progress: bool
) -> np.ndarray:
    """Read images in parallel, or take them from the cache if it is of these files.

    Parameters
    ----------
    root : Path
        Holds ``img_align_celeba``, itself or in ``Img``.
    files : sequence of str
        Names of the images.
    cache : str, Path or None
        Where the result is kept.
    n_threads : int
        Images read at a time.
    progress : bool
        Show a progress bar.

    Returns
    -------
    ndarray of uint8
        (file, channel, height, width), (file, 3, 64, 64).

    Raises
    ------
    DataError
        If an image is absent, damaged or too small, or the cache is another kind of file.

    Examples
    --------
    See `read_celeba`.
    """
    folder = _image_folder(root)
    sizes = _file_sizes(folder, files)
    if cache is None:
        return _read_images(folder, files, n_threads, progress)
    path = Path(cache).expanduser()
    settings = [CACHE_FORMAT, CROP, SIZE, *zip(files, sizes, strict=True)]
    fingerprint = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    images = _read_cache(path, fingerprint)
    if images is None:
        images = _read_images(folder, files, n_threads, progress)
        _write_cache(path, fingerprint, images)
    return images


def _image_folder(root: Path) -> Path:
    for folder in (root / IMAGES, root / "Img" / IMAGES):
        if folder.is_dir():
            nested = folder / IMAGES
            return nested if nested.is_dir() else folder
    raise DataError(f"{root} has no folder {IMAGES}; unpack img_align_celeba.zip there.")


def _file_sizes(folder: Path, files: Sequence[str]) -> list[int]:
    """Return the sizes in bytes; fail, before anything is read, where a file is absent."""
    sizes, absent = [], []
    for file in files:
        try:
            sizes.append((folder / file).stat().st_size)
        except OSError:
            absent.append(file)
    if absent:
        raise DataError(
            f"{folder} has no image {absent[0]!r} ({len(absent)} of {len(files)} are absent); the "
            "lists name it: unpack all images."
        )
    return sizes


def _read_images(folder: Path, files: Sequence[str], n_threads: int, progress: bool) -> np.ndarray:
    from tqdm import tqdm

    images = np.empty((len(files), 3, SIZE, SIZE), dtype=np.uint8)

    def read_batch(start: int) -> int:
        batch = files[start : start + BATCH]
        for row, file in enumerate(batch, start=start):
            images[row] = read_face(folder / file)
        return len(batch)

    # Pillow decodes and resizes outside the interpreter's lock, so that threads suffice
    with (
        tqdm(total=len(files), desc="reading", unit="image", disable=not progress) as bar,
        ThreadPoolExecutor(n_threads) as pool,
    ):
        done: Iterator[int] = pool.map(read_batch, range(0, len(files), BATCH))
        for number in done:
            bar.update(number)
    return images


def read_face(path: str | Path | IO[bytes]) -> np.ndarray:
    """Read one image: the central 148 x 148 pixels, resized to 64 x 64.

    Parameters
    ----------
    path : str, Path or binary file
        Any image that Pillow opens; grey ones become colour.

    Returns
    -------
    ndarray of uint8
        (channel, height, width), (3, 64, 64).

    Raises
    ------
    DataError
        If it is damaged, or smaller than the crop.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (178, 218), (10, 20, 30)).save(f"{folder}/face.png")
    ...     face = read_face(f"{folder}/face.png")
    >>> face.shape, face[:, 0, 0]
    ((3, 64, 64), array([10, 20, 30], dtype=uint8))
    """
    from PIL import Image

    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    # Pillow reports a damaged file by any of these
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as problem:
        raise DataError(
            f"{path} cannot be read as an image ({problem}); fetch it anew."
        ) from problem
    width, height = image.size
    if min(width, height) < CROP:
        raise DataError(
            f"{path} has {width} x {height} pixels, but the central {CROP} x {CROP} are cut out; "
            "give CelebA's aligned images of 178 x 218."
        )
    left, top = (width - CROP) // 2, (height - CROP) // 2
    # cut first: resizing a box of the whole image would look at pixels around it
    cut = image.crop((left, top, left + CROP, top + CROP))
    small = cut.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(small).transpose(2, 0, 1)


def _read_cache(path: Path, fingerprint: str) -> np.ndarray | None:
    """Return the images of the cache, or None where it is absent or of other files."""
    if not path.exists():
        return None
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
            written_for = str(stored["fingerprint"])
            images: np.ndarray | None = stored["images"] if written_for == fingerprint else None
    # numpy reports other kinds of files, and damaged ones, by any of these
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile, zlib.error) as problem:
        raise DataError(
            f"{path} is no whole cache of read_celeba ({problem}); delete it or name another file."
        ) from problem
    return images


def _write_cache(path: Path, fingerprint: str, images: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".partial-{path.name}")
    try:
        with aside.open("wb") as opened:
            np.savez(opened, fingerprint=np.array(fingerprint), images=images)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
