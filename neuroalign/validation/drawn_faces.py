"""Drawn faces in the layout of CelebA, for use where CelebA itself is not at hand."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from neuroalign.data.randomness import RandomState, named_generator, resolve_seed
from neuroalign.errors import DataError, ParameterError

Face = tuple[str, str, int]  # file, part of the split, place in the part

N_TRAIN: Final = 4000
N_VALIDATION: Final = 500
N_TEST: Final = 1000

MARKER: Final = "DRAWN_FACES.txt"
QUALITY: Final = 92  # of the JPEG files
BATCH: Final = 50  # faces that a process draws at a time

DRAWN_ATTRIBUTES: Final = (
    "Bald",
    "Bangs",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "No_Beard",
    "Pale_Skin",
    "Rosy_Cheeks",
    "Smiling",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
)
HAIR_COLOURS: Final = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")

# chances of each attribute for a man and for a woman, near those among CelebA's faces
_CHANCES: Final[Mapping[str, tuple[float, float]]] = {
    "Bald": (0.08, 0.0),
    "Bangs": (0.08, 0.22),
    "Big_Nose": (0.42, 0.10),
    "Bushy_Eyebrows": (0.25, 0.07),
    "Eyeglasses": (0.13, 0.03),
    "Pale_Skin": (0.05, 0.07),
    "Rosy_Cheeks": (0.01, 0.12),
    "Smiling": (0.40, 0.54),
    "Wearing_Earrings": (0.02, 0.31),
    "Wearing_Hat": (0.09, 0.04),
    "Wearing_Lipstick": (0.0, 0.80),
}
_MALE: Final = 0.42
# of the four colours named, the rest is of a colour without a name
_HAIR_CHANCES: Final = ((0.38, 0.05, 0.19, 0.12), (0.24, 0.27, 0.28, 0.03))
# men: no beard, goatee, mustache, both, full beard
_BEARD_CHANCES: Final = (0.62, 0.13, 0.08, 0.05, 0.12)
_OPEN_CHANCES: Final = (0.24, 0.75)  # of an open mouth, when not smiling and smiling


def draw_attributes(generator: np.random.Generator) -> dict[str, bool]:
    """Draw the attributes of one face.

    Frequencies are near those in CelebA, and so is what goes together: at most one hair colour;
    a bald head has none; a hat hides the hair at the top, and with it the colour of short hair;
    beards are men's, lipstick is women's; an open mouth is likelier in a smile.

    Parameters
    ----------
    generator : Generator
        Source of chance; the same number of draws is taken for every face.

    Returns
    -------
    dict
        Each of `DRAWN_ATTRIBUTES` and whether it is present.

    Examples
    --------
    >>> attributes = draw_attributes(np.random.default_rng(0))
    >>> len(attributes), attributes["Male"]
    (20, False)
    """
    male = bool(generator.random() < _MALE)
    column = 0 if male else 1
    chances = generator.random(len(_CHANCES))
    attributes = dict.fromkeys(DRAWN_ATTRIBUTES, False)
    for (name, chance), drawn in zip(_CHANCES.items(), chances, strict=True):
        attributes[name] = bool(drawn < chance[column])
    attributes["Male"] = male
    colour = int(np.searchsorted(np.cumsum(_HAIR_CHANCES[column]), generator.random()))
    beard = int(np.searchsorted(np.cumsum(_BEARD_CHANCES), generator.random(), side="right"))
    is_open = generator.random() < _OPEN_CHANCES[int(attributes["Smiling"])]
    attributes["Mouth_Slightly_Open"] = bool(is_open)
    hat = attributes["Wearing_Hat"]
    attributes["Bald"] &= not hat
    hair_at_top = not (hat or attributes["Bald"])
    attributes["Bangs"] &= hair_at_top
    if colour < len(HAIR_COLOURS) and (hair_at_top or not male):
        attributes[HAIR_COLOURS[colour]] = True
    attributes["No_Beard"] = not male or beard == 0
    attributes["Goatee"] = male and beard in {1, 3}
    attributes["Mustache"] = male and beard in {2, 3}
    return attributes


def draw_faces(
    folder: str | Path,
    *,
    n_train: int = N_TRAIN,
    n_validation: int = N_VALIDATION,
    n_test: int = N_TEST,
    random_state: RandomState = 0,
    n_jobs: int | None = None,
    progress: bool = False,
) -> Path:
    """Draw faces by rule and write them as CelebA is laid out.

    These are no photographs and not CelebA: a data set of the same form, with 20 of its 40
    attributes, that runs everywhere. A file ``DRAWN_FACES.txt`` in the folder says so, and
    `read_celeba` names such data "CelebA-style (drawn faces)".

    Parameters
    ----------
    folder : str or Path
        Where to write ``img_align_celeba/*.jpg`` (178 x 218), ``list_attr_celeba.txt`` and
        ``list_eval_partition.txt``; must be absent or empty.
    n_train, n_validation, n_test : int, default=4000, 500, 1000
        Number of faces. A face depends on the seed, its part and its place in the part, so that
        more training faces leave the test faces as they are.
    random_state : int, Generator or None, default=0
        Seed.
    n_jobs : int, optional
        Processes; by default as many as there are processors, at most 16. The faces are the same
        for any number.
    progress : bool, default=False
        Show a progress bar over faces.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DataError
        If the folder holds something already.
    ParameterError
        If a number makes no sense.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drawn = draw_faces(f"{folder}/faces", n_train=2, n_validation=1, n_test=1)
    ...     sorted(path.name for path in drawn.iterdir())
    ['DRAWN_FACES.txt', 'img_align_celeba', 'list_attr_celeba.txt', 'list_eval_partition.txt']
    """
    target = Path(folder).expanduser()
    numbers = {"train": n_train, "validation": n_validation, "test": n_test}
    for part, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
            raise ParameterError(f"n_{part} must be a positive whole number, got {number!r}.")
    processes = check_jobs(n_jobs)
    seed = resolve_seed(random_state)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} exists and is not empty; draw faces into a new folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        whole = aside / "faces"
        (whole / "img_align_celeba").mkdir(parents=True)
        _write_images(whole / "img_align_celeba", _face_names(numbers), seed, processes, progress)
        _write_lists(whole, _face_names(numbers), seed)
        _write_marker(whole, numbers, seed)
        if target.exists():
            target.rmdir()
        os.replace(whole, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def check_jobs(n_jobs: int | None) -> int:
    """Return the number of workers that `n_jobs` stands for."""
    if n_jobs is None:
        return min(os.cpu_count() or 1, 16)
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs < 1:
        raise ParameterError(f"n_jobs must be a positive whole number or None, got {n_jobs!r}.")
    return n_jobs


def _face_names(numbers: Mapping[str, int]) -> list[Face]:
    """Return the file, the part and the place in the part of every face."""
    faces = [(part, place) for part, number in numbers.items() for place in range(number)]
    return [(f"{index:06d}.jpg", *face) for index, face in enumerate(faces, start=1)]


def _generators(seed: int, face: Face) -> tuple[np.random.Generator, np.random.Generator]:
    """Return the streams of a face's attributes and of its drawing."""
    _, part, place = face
    return (
        named_generator(seed, "attributes", part, str(place)),
        named_generator(seed, "drawing", part, str(place)),
    )


def _write_images(
    folder: Path, faces: Sequence[Face], seed: int, processes: int, progress: bool
) -> None:
    from tqdm import tqdm

    batches = [faces[start : start + BATCH] for start in range(0, len(faces), BATCH)]
    with tqdm(total=len(faces), desc="drawing", unit="face", disable=not progress) as bar:
        for number in _run_batches(folder, batches, seed, processes):
            bar.update(number)


def _run_batches(
    folder: Path, batches: Sequence[Sequence[Face]], seed: int, processes: int
) -> Iterator[int]:
    if processes == 1 or len(batches) < 4:  # starting processes takes longer than that
        yield from (_write_batch(folder, batch, seed) for batch in batches)
        return
    from joblib import Parallel, delayed

    pool = Parallel(n_jobs=processes, return_as="generator")
    yield from pool(delayed(_write_batch)(folder, batch, seed) for batch in batches)


def _write_batch(folder: Path, faces: Sequence[Face], seed: int) -> int:
    from neuroalign.validation.face_drawing import draw_face

    for face in faces:
        chances, drawing = _generators(seed, face)
        image = draw_face(draw_attributes(chances), drawing)
        image.save(folder / face[0], format="JPEG", quality=QUALITY)
    return len(faces)


def _write_lists(folder: Path, faces: Sequence[Face], seed: int) -> None:
    """Write CelebA's two lists, with -1 for absent attributes."""
    rows = [str(len(faces)), " ".join(DRAWN_ATTRIBUTES)]
    parts = []
    codes = {"train": 0, "validation": 1, "test": 2}
    for face in faces:
        attributes = draw_attributes(_generators(seed, face)[0])
        values = " ".join(" 1" if attributes[name] else "-1" for name in DRAWN_ATTRIBUTES)
        rows.append(f"{face[0]} {values}")
        parts.append(f"{face[0]} {codes[face[1]]}")
    (folder / "list_attr_celeba.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "list_eval_partition.txt").write_text("\n".join(parts) + "\n", encoding="utf-8")


def _write_marker(folder: Path, numbers: Mapping[str, int], seed: int) -> None:
    text = (
        "Faces drawn by rule by neuroalign, in the layout of CelebA.\n"
        "They are no photographs and not CelebA; results on them must not be called CelebA.\n"
        f"{json.dumps({'seed': seed, **numbers})}\n"
    )
    (folder / MARKER).write_text(text, encoding="utf-8")
