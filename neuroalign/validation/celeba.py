"""Bimodal CelebA: faces, and texts that name their attributes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import numpy as np

from neuroalign.data.randomness import RandomState, named_generator, resolve_seed
from neuroalign.errors import DataError, ParameterError
from neuroalign.validation.celeba_images import CROP, IMAGES, SIZE, load_images
from neuroalign.validation.celeba_lists import PARTS, FaceList, read_face_list
from neuroalign.validation.celeba_text import (
    ALPHABET,
    N_POSITIONS,
    LongTexts,
    words_of,
    write_texts,
)
from neuroalign.validation.dataset import Benchmark, Modality, Rows
from neuroalign.validation.drawn_faces import (
    MARKER,
    N_TEST,
    N_TRAIN,
    N_VALIDATION,
    check_jobs,
    draw_faces,
)

NAME: Final = "CelebA"
DRAWN_NAME: Final = "CelebA-style (drawn faces)"


def celeba(
    folder: str | Path | None = None,
    *,
    n_train: int | None = None,
    n_validation: int | None = None,
    n_test: int | None = None,
    random_state: RandomState = 0,
    cache: str | Path | None = None,
    n_jobs: int | None = None,
    progress: bool = False,
) -> Benchmark:
    """Return bimodal CelebA from a folder, or drawn faces in its place.

    Parameters
    ----------
    folder : str or Path, optional
        CelebA's aligned images and lists, see `read_celeba`. Without it faces are drawn into a
        temporary folder and read from there, see `draw_faces`.
    n_train, n_validation, n_test : int, optional
        Number of faces. By default all of a folder, or 4,000, 500 and 1,000 drawn ones.
    random_state : int, Generator or None, default=0
        Seed of the drawn faces, of the choice of faces and of the texts.
    cache, n_jobs, progress
        See `read_celeba`.

    Returns
    -------
    Benchmark
        Named "CelebA", or "CelebA-style (drawn faces)".

    Raises
    ------
    DataError
        If the folder is not in order.
    ParameterError
        If a number makes no sense.

    Examples
    --------
    >>> faces = celeba(n_train=4, n_validation=2, n_test=2)
    >>> faces.name, faces.train.observations["image"].shape
    ('CelebA-style (drawn faces)', (4, 3, 64, 64))
    """
    seed = resolve_seed(random_state)
    if folder is not None:
        return read_celeba(
            folder,
            n_train=n_train,
            n_validation=n_validation,
            n_test=n_test,
            random_state=seed,
            cache=cache,
            n_jobs=n_jobs,
            progress=progress,
        )
    with tempfile.TemporaryDirectory(prefix="drawn-faces-") as temporary:
        drawn = draw_faces(
            Path(temporary) / "faces",
            n_train=N_TRAIN if n_train is None else n_train,
            n_validation=N_VALIDATION if n_validation is None else n_validation,
            n_test=N_TEST if n_test is None else n_test,
            random_state=seed,
            n_jobs=n_jobs,
            progress=progress,
        )
        return read_celeba(drawn, random_state=seed, cache=cache, n_jobs=n_jobs, progress=progress)


def read_celeba(
    folder: str | Path,
    *,
    n_train: int | None = None,
    n_validation: int | None = None,
    n_test: int | None = None,
    random_state: RandomState = 0,
    long_texts: LongTexts = "cut",
    cache: str | Path | None = None,
    n_jobs: int | None = None,
    progress: bool = False,
) -> Benchmark:
    """Read CelebA's aligned images and attributes, and write a text for every face.

    The central 148 x 148 pixels of each image are resized to 64 x 64 (bicubic). The text names
    the attributes that are present, in random order at a random place within 256 symbols.

    Parameters
    ----------
    folder : str or Path
        Holds ``img_align_celeba`` (possibly with a second folder of that name in it),
        ``list_attr_celeba`` and ``list_eval_partition`` as .txt or .csv; the folders ``Img``,
        ``Anno`` and ``Eval`` of the official download are looked into as well.
    n_train, n_validation, n_test : int, optional
        Number of faces of each part of the official partition, chosen by `random_state`; a
        larger number keeps the faces of a smaller one. By default all: 162,770, 19,867 and
        19,962 in the original, which take 2.5 GB of memory.
    random_state : int, Generator or None, default=0
        Seed of the choice and of the texts. A face's text depends on the seed and on its file's
        name only.
    long_texts : {"cut", "error"}, default="cut"
        What to do with the rare texts of more than 256 symbols: cut them, with a warning that
        counts them, or refuse.
    cache : str or Path, optional
        A file (.npz) to keep the resized images in. It is read in place of the images if it was
        written for the same files (names and sizes in bytes) with the same crop and size, and
        written anew otherwise.
    n_jobs : int, optional
        Threads; by default as many as there are processors, at most 16.
    progress : bool, default=False
        Show a progress bar over images.

    Returns
    -------
    Benchmark
        Modalities "image", (3, 64, 64), and "text", (256,) of 41 symbols; labels are bool,
        (row, attribute). Rows keep the order of the attribute list.

    Raises
    ------
    DataError
        If lists are absent, malformed or disagree; if an image is absent, damaged or too small;
        if `cache` is another kind of file.
    ParameterError
        If more faces are asked for than there are, or a number makes no sense.

    Warns
    -----
    DataWarning
        If texts were cut.

    References
    ----------
    Liu, Luo, Wang & Tang (2015), Deep learning face attributes in the wild. Sutter, Daunhawer &
    Vogt (2020), Multimodal generative learning utilizing Jensen-Shannon-divergence (the texts).

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = draw_faces(f"{folder}/faces", n_train=3, n_validation=1, n_test=1)
    ...     faces = read_celeba(f"{folder}/faces")
    >>> faces.train.labels.shape, len(faces.label_names)
    ((3, 20), 20)
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give the one that holds {IMAGES}.")
    seed = resolve_seed(random_state)
    n_threads = check_jobs(n_jobs)
    faces = read_face_list(root)
    chosen = [
        _choose(faces, part, number, seed)
        for part, number in enumerate((n_train, n_validation, n_test))
    ]
    rows = np.concatenate(chosen)
    files = [faces.files[row] for row in rows]
    labels = faces.present[rows]
    texts = write_texts(labels, faces.attribute_names, files, seed=seed, long_texts=long_texts)
    images = load_images(root, files, cache, n_threads, progress)
    ends = np.cumsum([len(part) for part in chosen])
    parts = [
        Rows({"image": images[start:end], "text": texts[start:end]}, labels[start:end])
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
    ]
    drawn = (root / MARKER).exists()
    return Benchmark(
        name=DRAWN_NAME if drawn else NAME,
        modalities=(
            Modality("image", "image", (3, SIZE, SIZE)),
            Modality("text", "text", (N_POSITIONS,), len(ALPHABET), ALPHABET),
        ),
        label_names=faces.attribute_names,
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        about=_about(drawn, faces, ends, seed),
        ingredients={"text": words_of(faces.attribute_names)},
    )


def _choose(faces: FaceList, part: int, number: int | None, seed: int) -> np.ndarray:
    """Return the rows of one part, all or so many of them, in the order of the list."""
    available = np.flatnonzero(faces.part == part)
    name = PARTS[part]
    if not len(available):
        raise DataError(
            f"the partition list has no {name} faces (number {part}); all three parts are needed."
        )
    if number is None:
        return available
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
        raise ParameterError(f"n_{name} must be a positive whole number or None, got {number!r}.")
    if number > len(available):
        raise ParameterError(
            f"n_{name} is {number}, but the partition list has {len(available)} {name} faces."
        )
    order = named_generator(seed, "choice", name).permutation(len(available))
    return available[np.sort(order[:number])]


def _about(drawn: bool, faces: FaceList, ends: np.ndarray, seed: int) -> str:
    what = (
        "Faces drawn by rule with attributes named as in CelebA; no photographs, not CelebA"
        if drawn
        else "CelebA, aligned images (Liu et al., 2015)"
    )
    return (
        f"{what}: {ends[-1]} of {len(faces.files)} faces, central {CROP} pixels resized to {SIZE}; "
        f"texts name the present ones of {len(faces.attribute_names)} attributes (seed {seed})."
    )
