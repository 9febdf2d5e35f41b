"""The two lists that come with CelebA: attributes of every image, and its part of the split."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from neuroalign.errors import DataError

ATTRIBUTE_LIST: Final = "list_attr_celeba"
PARTITION_LIST: Final = "list_eval_partition"
PARTS: Final = ("train", "validation", "test")  # 0, 1, 2 in the partition list
PLACES: Final = (".", "Anno", "Eval")  # the folders of the official download
VALUES: Final = {"-1": -1, "0": 0, "1": 1}

Line = tuple[int, list[str]]


@dataclass(frozen=True)
class FaceList:
    """What the lists say, in the order of the attribute list.

    Attributes
    ----------
    files : tuple of str
        Names of image files.
    attribute_names : tuple of str
        In the order of the list.
    present : ndarray of bool
        (face, attribute).
    part : ndarray of int
        (face,): 0 training, 1 validation, 2 test.
    """

    files: tuple[str, ...]
    attribute_names: tuple[str, ...]
    present: np.ndarray
    part: np.ndarray


def read_face_list(folder: Path) -> FaceList:
    """Read and compare the attribute list and the partition list of a folder.

    Parameters
    ----------
    folder : Path
        Holds ``list_attr_celeba`` and ``list_eval_partition``, each as .txt or .csv, themselves
        or in ``Anno`` and ``Eval``. Where there are both, the .txt is read.

    Raises
    ------
    DataError
        If a list is absent or malformed, or the two do not name the same images.

    Examples
    --------
    See `read_celeba`.
    """
    attribute_path = _find_list(folder, ATTRIBUTE_LIST)
    partition_path = _find_list(folder, PARTITION_LIST)
    files, names, present = _read_attributes(attribute_path)
    parts = _read_partition(partition_path)
    _compare(attribute_path, files, partition_path, parts)
    part = np.array([parts[file] for file in files], dtype=np.int64)
    return FaceList(files, names, present, part)


def _find_list(folder: Path, stem: str) -> Path:
    candidates = [folder / place / f"{stem}{end}" for end in (".txt", ".csv") for place in PLACES]
    for path in candidates:
        if path.is_file():
            return path
    raise DataError(
        f"{folder} has no {stem}.txt and no {stem}.csv; give the folder that holds CelebA's lists "
        "beside img_align_celeba."
    )


def _read_lines(path: Path) -> Iterator[Line]:
    """Yield the fields of each line that is not empty, with the line's number."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            if path.suffix == ".csv":
                reader = csv.reader(opened)
                for fields in reader:
                    if fields:
                        yield reader.line_num, [field.strip() for field in fields]
            else:
                for number, line in enumerate(opened, start=1):
                    if fields := line.split():
                        yield number, fields
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise DataError(f"{path} is no readable text file ({problem}).") from problem


def _read_attributes(path: Path) -> tuple[tuple[str, ...], tuple[str, ...], np.ndarray]:
    lines = _read_lines(path)
    expected = None if path.suffix == ".csv" else _read_count(path, lines)
    header = next(lines, (0, []))[1]
    names = tuple(header[1:] if path.suffix == ".csv" else header)
    _check_names(path, names)
    numbers, files, rows = [], [], []
    for number, fields in lines:
        rows.append(_read_values(path, number, fields, names))
        files.append(fields[0])
        numbers.append(number)
    _check_files(path, numbers, files)
    if expected is not None and expected != len(files):
        raise DataError(
            f"{path} announces {expected} images in its first line, but lists {len(files)}; "
            "it may be cut off: fetch it anew."
        )
    values = np.array(rows, dtype=np.int8).reshape(len(files), len(names))
    _check_coding(path, numbers, files, names, values)
    return tuple(files), names, values == 1


def _read_count(path: Path, lines: Iterator[Line]) -> int:
    first = next(lines, (0, []))[1]
    if len(first) != 1 or not first[0].isdecimal():
        raise DataError(
            f"the first line of {path} must be the number of images, got {' '.join(first)[:60]!r}."
        )
    return int(first[0])


def _check_names(path: Path, names: Sequence[str]) -> None:
    if not names:
        raise DataError(f"{path} names no attributes; the line before the images must.")
    repeated = [name for place, name in enumerate(names) if name in names[:place]]
    if repeated:
        raise DataError(
            f"{path} names the attribute {repeated[0]!r} twice; the line before the images must "
            "hold each name once."
        )


def _read_values(path: Path, number: int, fields: list[str], names: Sequence[str]) -> list[int]:
    if len(fields) - 1 != len(names):
        raise DataError(
            f"line {number} of {path} ({fields[0]!r}) has {len(fields) - 1} values, but there are "
            f"{len(names)} attributes."
        )
    try:
        return [VALUES[field] for field in fields[1:]]
    except KeyError:
        place = next(p for p, field in enumerate(fields[1:]) if field not in VALUES)
        raise DataError(
            f"line {number} of {path} ({fields[0]!r}): {names[place]!r} must be 1 or -1 (or 1 or "
            f"0 throughout), got {fields[place + 1]!r}."
        ) from None


def _check_coding(
    path: Path,
    numbers: Sequence[int],
    files: Sequence[str],
    names: Sequence[str],
    values: np.ndarray,
) -> None:
    """Check that absent is written in one way, -1 or 0."""
    zeros, minus = values == 0, values == -1
    if not (zeros.any() and minus.any()):
        return
    odd, other = (0, -1) if zeros.sum() <= minus.sum() else (-1, 0)
    row, column = np.argwhere(values == odd)[0]
    raise DataError(
        f"line {numbers[row]} of {path} ({files[row]!r}): {names[column]!r} is {odd}, but absent "
        f"attributes are {other} elsewhere in this list; write one of the two throughout."
    )


def _check_files(path: Path, numbers: Sequence[int], files: Sequence[str]) -> None:
    if not files:
        raise DataError(f"{path} lists no images.")
    seen: dict[str, int] = {}
    for number, file in zip(numbers, files, strict=True):
        if file in seen:
            raise DataError(f"{path} lists {file!r} twice, in lines {seen[file]} and {number}.")
        if Path(file).name != file or "\\" in file:
            raise DataError(
                f"line {number} of {path}: {file!r} must be the plain name of an image file."
            )
        seen[file] = number


def _read_partition(path: Path) -> dict[str, int]:
    lines = _read_lines(path)
    if path.suffix == ".csv":
        next(lines, None)  # the names of the two columns
    numbers, parts = [], []
    files = []
    for number, fields in lines:
        if len(fields) != 2 or fields[1] not in {"0", "1", "2"}:
            raise DataError(
                f"line {number} of {path} must be an image and 0 (train), 1 (validation) or 2 "
                f"(test), got {' '.join(fields)[:60]!r}."
            )
        numbers.append(number)
        files.append(fields[0])
        parts.append(int(fields[1]))
    _check_files(path, numbers, files)
    return dict(zip(files, parts, strict=True))


def _compare(
    attribute_path: Path, files: Sequence[str], partition_path: Path, parts: dict[str, int]
) -> None:
    listed = set(files)
    only_attributes = [file for file in files if file not in parts]
    only_partition = [file for file in parts if file not in listed]
    for absent, here, there in (
        (only_attributes, attribute_path, partition_path),
        (only_partition, partition_path, attribute_path),
    ):
        if absent:
            raise DataError(
                f"{absent[0]!r} is listed in {here} but not in {there} ({len(absent)} such "
                "images); both lists must name the same images."
            )
