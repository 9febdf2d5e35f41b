"""Translated PolyMNIST: one digit in several views, each on a background of its own.

Digits are scaled by 0.75, put at a random place and cut out of their background by inverting
its colours; the views of a row show different images of one digit (sections 5.1 and B.2.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from neuroalign.data.randomness import RandomState, named_generator, resolve_seed
from neuroalign.errors import DataError, ParameterError
from neuroalign.validation.dataset import Benchmark, Ingredients, Modality, Rows
from neuroalign.validation.idx_files import read_mnist
from neuroalign.validation.image_folders import (
    SIDE,
    list_polymnist_part,
    read_backgrounds,
    read_polymnist_rows,
)

DIGIT: Final = 21  # 28 pixels scaled by 0.75
THRESHOLD: Final = 128
DIGITS: Final = tuple("0123456789")
MODALITY_SHAPE: Final = (3, SIDE, SIDE)


def compose(
    digits: np.ndarray, background: np.ndarray, place: np.ndarray, corner: np.ndarray
) -> np.ndarray:
    """Cut pieces out of a background and invert their colours under a digit.

    Parameters
    ----------
    digits : ndarray of bool, (image, 21, 21)
        Where the digit is.
    background : ndarray of uint8, (channel, height, width)
        Of any size from 28 x 28 on.
    place : ndarray of int, (image, 2)
        Row and column of the digit's first pixel, 0 to 7.
    corner : ndarray of int, (image, 2)
        Row and column of the piece's first pixel.

    Returns
    -------
    ndarray of uint8, (image, channel, 28, 28)

    Raises
    ------
    ParameterError
        If a digit would reach over its image, or a piece over its background.

    Examples
    --------
    >>> ink, sky = np.ones((1, 21, 21), dtype=bool), np.full((3, 30, 40), 55, dtype=np.uint8)
    >>> image = compose(ink, sky, place=np.array([[0, 7]]), corner=np.array([[2, 9]]))
    >>> image[0, 0, 0, 5:9]
    array([ 55,  55, 200, 200], dtype=uint8)
    """
    windows = np.lib.stride_tricks.sliding_window_view
    pieces = windows(background, (SIDE, SIDE), axis=(1, 2)).transpose(1, 2, 0, 3, 4)
    _check_inside("place", place, (SIDE - DIGIT + 1, SIDE - DIGIT + 1))
    _check_inside("corner", corner, pieces.shape[:2])
    images = np.ascontiguousarray(pieces[corner[:, 0], corner[:, 1]])
    mask = np.zeros((len(digits), 1, SIDE, SIDE), dtype=np.uint8)
    spots = windows(mask[:, 0], (DIGIT, DIGIT), axis=(1, 2), writeable=True)
    spots[np.arange(len(digits)), place[:, 0], place[:, 1]] = digits * np.uint8(255)
    images ^= mask  # x ^ 255 is 255 - x, and x ^ 0 is x
    return images


def _check_inside(name: str, values: np.ndarray, room: tuple[int, ...]) -> None:
    if values.size and (values.min() < 0 or (values >= room).any()):
        worst = values[((values < 0) | (values >= room)).any(axis=1)][0]
        raise ParameterError(
            f"{name} must lie within 0 to {room[0] - 1} and 0 to {room[1] - 1}, got "
            f"{tuple(worst.tolist())}."
        )


def shrink(digits: np.ndarray) -> np.ndarray:
    """Scale grey digits to 21 x 21 (bilinear) and tell where they are brighter than half.

    Parameters
    ----------
    digits : ndarray of uint8, (image, height, width)
        White on black.

    Returns
    -------
    ndarray of bool, (image, 21, 21)

    Notes
    -----
    Pillow's bilinear filter averages over what it leaves out. The published programs take every
    value from its two nearest pixels instead: of the 57 pixels of an MNIST digit about 2 differ.

    Examples
    --------
    >>> square = np.zeros((1, 28, 28), dtype=np.uint8)
    >>> square[:, 8:20, 8:20] = 255
    >>> int(shrink(square).sum())  # 12 x 12 pixels of 28 x 28 are 9 x 9 of 21 x 21
    81
    """
    from PIL import Image

    size = (DIGIT, DIGIT)
    small = [Image.fromarray(one).resize(size, Image.Resampling.BILINEAR) for one in digits]
    return np.stack([np.asarray(one) for one in small]) >= THRESHOLD


def paired_rows(
    digits: np.ndarray,
    labels: np.ndarray,
    backgrounds: Mapping[str, np.ndarray],
    *,
    seed: int,
    part: str,
) -> tuple[Rows, dict[str, Ingredients]]:
    """Build rows whose views show different images of one digit.

    Every view takes the images of a class in a random order of its own, so that each image is
    used once in each view.

    Parameters
    ----------
    digits : ndarray of bool, (image, 21, 21)
        Where the digits are.
    labels : ndarray of int, (image,)
        Which digits they are; row i shows labels[i].
    backgrounds : mapping of str to ndarray of uint8, (channel, height, width)
        By view.
    seed : int
        Together with part and view it decides everything that is random.
    part : str
        "train", "validation" or "test".

    Returns
    -------
    Rows
        The composed images.
    dict of str to Ingredients
        By view, what they were composed of.

    Examples
    --------
    >>> ink, black = np.ones((4, 21, 21), dtype=bool), np.zeros((3, 28, 28), dtype=np.uint8)
    >>> rows, _ = paired_rows(ink, np.array([0, 1, 0, 1]), {"a": black}, seed=0, part="train")
    >>> rows.observations["a"].shape, rows.labels
    ((4, 3, 28, 28), array([0, 1, 0, 1]))
    """
    observations, ingredients = {}, {}
    for view, background in backgrounds.items():
        random = named_generator(seed, "polymnist", part, view)
        partner = np.empty(len(labels), dtype=np.int64)
        for label in np.unique(labels):
            same = np.flatnonzero(labels == label)
            partner[same] = random.permutation(same)
        room = np.array(background.shape[1:]) - SIDE + 1
        corner = np.stack([random.integers(0, n, len(labels)) for n in room], axis=1)
        place = random.integers(0, SIDE - DIGIT + 1, (len(labels), 2))
        observations[view] = compose(digits[partner], background, place, corner)
        ingredients[view] = Ingredients(digits[partner], background)
    return Rows(observations, labels.astype(np.int64)), ingredients


def polymnist(
    *,
    mnist_dir: str | Path | None = None,
    backgrounds: str | Path | Sequence[str | Path] | None = None,
    folder: str | Path | None = None,
    n_views: int = 3,
    n_train: int | None = None,
    n_validation: int | None = None,
    n_test: int | None = None,
    random_state: RandomState = 0,
) -> Benchmark:
    """Return translated PolyMNIST, built or read.

    Parameters
    ----------
    mnist_dir : str or Path, optional
        Folder of MNIST's four idx files; needs `backgrounds`. Training and validation rows come
        from its first 50,000 and last 10,000 training images, test rows from its test images.
    backgrounds : path or sequence of paths, optional
        A folder of images, of which the first `n_views` by name are used, or the images in the
        order of the views. Without `mnist_dir`, scikit-learn's digits are put on them.
    folder : str or Path, optional
        A ready-made PolyMNIST (`train/m0/0.3.png`, …, `test/m4/…`), read as it is: whether its
        digits are translated is not asked. Validation rows are drawn from its training rows.
    n_views : int
        3 as in the paper, 5 as elsewhere.
    n_train, n_validation, n_test : int, optional
        Rows; by default all there are (ready-made: a tenth of the training rows validates).
    random_state : int, Generator or None, default=0
        Seed of the choice of rows, and of pairs, places and pieces.

    Returns
    -------
    Benchmark
        "PolyMNIST" if it was read, "PolyMNIST-style" if it was built from MNIST. Without any
        folder "PolyMNIST-style (small digits)": scikit-learn's digits of 8 x 8 pixels on pieces
        of its two sample photographs; the third view lies on the second photograph turned
        upside down with red and blue exchanged.

    Raises
    ------
    DataError
        If a file is missing or wrong, or there are too few images or backgrounds.
    ParameterError
        If arguments contradict each other, or a number makes no sense.

    Notes
    -----
    In what is built here no digit is in two parts. In a ready-made PolyMNIST none is in both
    training and test rows, and no image is in two parts; but every view there took MNIST's
    training digits in an order of its own, so that the digit of a validation row can be that of
    a training row in another view, on another background.

    References
    ----------
    Sutter, Daunhawer & Vogt (2021), Generalized multimodal ELBO (PolyMNIST). Daunhawer, Sutter,
    Chin-Cheong, Palumbo & Vogt (2022), On the limitations of multimodal VAEs (its translation).

    Examples
    --------
    >>> small = polymnist(n_train=60, n_validation=20, n_test=20)
    >>> small.name, [modality.name for modality in small.modalities]
    ('PolyMNIST-style (small digits)', ['china', 'flower', 'flower turned'])
    >>> small.train.observations["china"].shape
    (60, 3, 28, 28)
    """
    if folder is not None and (mnist_dir is not None or backgrounds is not None):
        raise ParameterError("give folder, or mnist_dir with backgrounds, not both.")
    if mnist_dir is not None and backgrounds is None:
        raise ParameterError("mnist_dir needs backgrounds: a folder of images, or their paths.")
    if not _is_whole(n_views) or n_views < 2:
        raise ParameterError(f"n_views must be a whole number of at least 2, got {n_views!r}.")
    wanted = {"train": n_train, "validation": n_validation, "test": n_test}
    for part, number in wanted.items():
        if number is not None and (not _is_whole(number) or number < 1):
            raise ParameterError(
                f"n_{part} must be a positive whole number or None, got {number!r}."
            )
    seed = resolve_seed(random_state)
    if folder is not None:
        return _ready_made(Path(folder).expanduser(), n_views, wanted, seed)
    if mnist_dir is not None and backgrounds is not None:
        return _built(Path(mnist_dir).expanduser(), backgrounds, n_views, wanted, seed)
    return _embedded(backgrounds, n_views, wanted, seed)


def _is_whole(number: object) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _ready_made(
    folder: Path, n_views: int, wanted: Mapping[str, int | None], seed: int
) -> Benchmark:
    views = [f"m{number}" for number in range(n_views)]
    listed = {part: list_polymnist_part(folder / part, views) for part in ("train", "test")}
    numbers = _ready_made_numbers(folder, wanted, len(listed["train"]), len(listed["test"]))
    # drawn: classes differ in number, so that the last rows by number lack the rarer digits
    order = {
        part: named_generator(seed, "polymnist", "ready-made", part).permutation(len(rows))
        for part, rows in listed.items()
    }
    border = numbers["validation"]
    chosen = {
        "train": ("train", order["train"][border : border + numbers["train"]]),
        "validation": ("train", order["train"][:border]),
        "test": ("test", order["test"][: numbers["test"]]),
    }
    rows = {
        part: Rows(*read_polymnist_rows(folder / home, views, [listed[home][i] for i in index]))
        for part, (home, index) in chosen.items()
    }
    return Benchmark(
        "PolyMNIST",
        tuple(Modality(view, "image", MODALITY_SHAPE) for view in views),
        DIGITS,
        rows["train"],
        rows["validation"],
        rows["test"],
        f"{n_views} views of a ready-made PolyMNIST, read as it is. Validation rows are some of "
        f"its training rows (seed {seed}); their digits may be training digits of other views.",
    )


def _ready_made_numbers(
    folder: Path, wanted: Mapping[str, int | None], n_train: int, n_test: int
) -> dict[str, int]:
    """Return how many rows each part has, by default all there are."""
    validation = wanted["validation"] or max(1, n_train // 10)
    train = wanted["train"] or n_train - validation
    test = wanted["test"] or n_test
    if train < 1 or train + validation > n_train:
        raise DataError(
            f"{folder / 'train'} has {n_train} rows, too few for {wanted['train'] or 'any'} "
            f"training and {validation} validation rows."
        )
    if test > n_test:
        raise DataError(f"{folder / 'test'} has {n_test} rows, got n_test={test}.")
    return {"train": train, "validation": validation, "test": test}


def _built(
    mnist_dir: Path,
    backgrounds: str | Path | Sequence[str | Path],
    n_views: int,
    wanted: Mapping[str, int | None],
    seed: int,
) -> Benchmark:
    images = _first_backgrounds(backgrounds, n_views)
    mnist = read_mnist(mnist_dir)
    digits, labels = mnist["train"]
    border = len(labels) * 5 // 6
    parts = {
        "train": (digits[:border], labels[:border]),
        "validation": (digits[border:], labels[border:]),
        "test": mnist["t10k"],
    }
    about = (
        f"MNIST digits (scaled by 0.75, at random places) on {', '.join(images)}; not the "
        "backgrounds of the published PolyMNIST."
    )
    return _assemble("PolyMNIST-style", parts, images, wanted, seed, about)


def _first_backgrounds(
    backgrounds: str | Path | Sequence[str | Path], n_views: int
) -> dict[str, np.ndarray]:
    images = read_backgrounds(backgrounds)
    if len(images) < n_views:
        raise DataError(f"{n_views} views need as many backgrounds, got {len(images)}.")
    return dict(list(images.items())[:n_views])


def _photographs(n_views: int) -> dict[str, np.ndarray]:
    from sklearn.datasets import load_sample_images

    china, flower = (np.asarray(i).transpose(2, 0, 1) for i in load_sample_images().images)
    turned = np.ascontiguousarray(flower[::-1, ::-1, ::-1])
    images = {"china": china, "flower": flower, "flower turned": turned}
    if n_views > len(images):
        raise ParameterError(
            f"without folders there are {len(images)} views, got n_views={n_views}."
        )
    return dict(list(images.items())[:n_views])


def _embedded(
    backgrounds: str | Path | Sequence[str | Path] | None,
    n_views: int,
    wanted: Mapping[str, int | None],
    seed: int,
) -> Benchmark:
    from sklearn.datasets import load_digits

    if backgrounds is None:
        images = _photographs(n_views)
        where = (
            "pieces of its two sample photographs (the third view: the second photograph upside "
            "down with red and blue exchanged)"
        )
    else:
        images = _first_backgrounds(backgrounds, n_views)
        where = f"pieces of {', '.join(images)}"
    grey, labels = load_digits(return_X_y=True)
    # 0 to 16 in 8 x 8; padded as MNIST is, so that strokes keep clear of the edge
    digits = np.pad((grey.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8), ((0, 0), (1, 1), (1, 1)))
    order = named_generator(seed, "polymnist", "parts").permutation(len(labels))
    cut = {"train": order[:1100], "validation": order[1100:1300], "test": order[1300:]}
    parts = {part: (digits[index], labels[index]) for part, index in cut.items()}
    about = (
        f"scikit-learn's 1,797 digits of 8 x 8 pixels on {where}: a stand-in that needs no "
        "download."
    )
    return _assemble("PolyMNIST-style (small digits)", parts, images, wanted, seed, about)


def _assemble(
    name: str,
    parts: Mapping[str, tuple[np.ndarray, np.ndarray]],
    backgrounds: Mapping[str, np.ndarray],
    wanted: Mapping[str, int | None],
    seed: int,
    about: str,
) -> Benchmark:
    rows, ingredients = {}, {}
    for part, (digits, labels) in parts.items():
        number = len(labels) if wanted[part] is None else wanted[part]
        if number is None or number > len(labels):
            raise DataError(
                f"there are {len(labels)} digits for {part} rows, got n_{part}={number}."
            )
        chosen = named_generator(seed, "polymnist", part).permutation(len(labels))[:number]
        rows[part], ingredients[part] = paired_rows(
            shrink(digits[chosen]), labels[chosen], backgrounds, seed=seed, part=part
        )
    views = tuple(Modality(view, "image", MODALITY_SHAPE) for view in backgrounds)
    return Benchmark(
        name,
        views,
        DIGITS,
        rows["train"],
        rows["validation"],
        rows["test"],
        about,
        ingredients["train"],
    )
