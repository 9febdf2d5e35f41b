"""PolyMNIST is built by rule, read with its pairs checked, and refuses what is wrong."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.ensemble import ExtraTreesClassifier

from neuroalign.errors import DataError, ParameterError
from neuroalign.nn.random import RandomStreams
from neuroalign.validation.idx_files import read_idx, read_mnist
from neuroalign.validation.image_folders import read_backgrounds, read_polymnist_part
from neuroalign.validation.polymnist import compose, paired_rows, polymnist, shrink
from neuroalign.validation.sources import ComposedImages, compose_images

DATA = Path(os.environ.get("NEUROALIGN_DATA", "../shared/data"))


def idx_bytes(values: np.ndarray, kind: int = 8) -> bytes:
    header = struct.pack(f">2xBB{values.ndim}I", kind, values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


def write_mnist(folder: Path, n_train: int = 60, n_test: int = 20) -> Path:
    """Write digits that are easy to tell: digit d is a bar of d + 1 bright columns."""
    folder.mkdir()
    for part, number in (("train", n_train), ("t10k", n_test)):
        labels = np.arange(number) % 10
        images = np.zeros((number, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[4:24, 4 : 6 + 2 * label] = 255
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{part}-labels.idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))
    return folder


def write_backgrounds(folder: Path, number: int = 3) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for k in range(number):
        pixels = random.integers(0, 100, (40, 36 + k, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"view{k}.png")
    return folder


def write_polymnist(folder: Path, rows: int = 12, views: int = 3) -> Path:
    random = np.random.default_rng(1)
    for part in ("train", "test"):
        for view in range(views):
            (folder / part / f"m{view}").mkdir(parents=True)
            for row in reversed(range(rows)):
                pixels = np.full((28, 28, 3), random.integers(0, 200), dtype=np.uint8)
                pixels[0, 0] = row
                Image.fromarray(pixels).save(folder / part / f"m{view}" / f"{row}.{row % 10}.png")
    return folder


def _edges(images: np.ndarray) -> np.ndarray:
    """Return how far each pixel is from its image's typical colour: where a digit may be."""
    typical = np.median(images, axis=(2, 3), keepdims=True)
    return np.asarray(np.abs(images - typical).sum(1).reshape(len(images), -1))


def test_idx_files_are_read_compressed_or_not(tmp_path: Path) -> None:
    values = np.arange(24).reshape(2, 3, 4)
    (tmp_path / "plain").write_bytes(idx_bytes(values))
    (tmp_path / "packed").write_bytes(gzip.compress(idx_bytes(values)))
    np.testing.assert_array_equal(read_idx(tmp_path / "plain"), values)
    np.testing.assert_array_equal(read_idx(tmp_path / "packed"), values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x01\x00\x08\x01", "is no idx file"),
        (idx_bytes(np.zeros(3), kind=0x0D), "holds values of type 0x0d; expected unsigned bytes"),
        (idx_bytes(np.zeros((2, 3)))[:-1], r"should have 18 bytes for its shape \(2, 3\), got 17"),
        (idx_bytes(np.zeros(3)) + b"x", "should have 11 bytes"),
        (b"\x00\x00\x08\x03\x00", "ends within its header"),
        (gzip.compress(idx_bytes(np.zeros(300)))[:-9], "is damaged"),
    ],
)
def test_idx_files_that_are_wrong_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "digits"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_mnist_needs_all_files_and_images_that_fit_labels(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "mnist")
    images, labels = read_mnist(folder)["train"]
    assert images.shape == (60, 28, 28)
    assert labels[:3].tolist() == [0, 1, 2]
    path = folder / "train-labels.idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(59))))
    with pytest.raises(DataError, match="has 59 labels for 60 images"):
        read_mnist(folder)
    path.write_bytes(gzip.compress(idx_bytes(np.full(60, 11))))
    with pytest.raises(DataError, match="has the label 11"):
        read_mnist(folder)
    path.unlink()
    with pytest.raises(DataError, match="holds none of train-labels-idx1-ubyte, "):
        read_mnist(folder)


def test_compose_inverts_the_piece_under_the_digit_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    digits = random.random((5, 21, 21)) < 0.3
    background = random.integers(0, 256, (3, 40, 33)).astype(np.uint8)
    place = random.integers(0, 8, (5, 2))
    corner = np.stack([random.integers(0, 13, 5), random.integers(0, 6, 5)], axis=1)
    images = compose(digits, background, place, corner)
    for n in range(5):
        (top, left), (row, column) = corner[n], place[n]
        expected = background[:, top : top + 28, left : left + 28].astype(int)
        for y in range(21):
            for x in range(21):
                if digits[n, y, x]:
                    expected[:, row + y, column + x] = 255 - expected[:, row + y, column + x]
        np.testing.assert_array_equal(images[n], expected)


def test_the_device_composes_as_numpy_does() -> None:
    random = np.random.default_rng(3)
    digits = random.random((6, 21, 21)) < 0.4
    background = random.integers(0, 256, (3, 35, 50)).astype(np.uint8)
    place = random.integers(0, 8, (6, 2))
    corner = np.stack([random.integers(0, 8, 6), random.integers(0, 23, 6)], axis=1)
    there = [torch.from_numpy(values) for values in (digits, background, place, corner)]
    made = compose_images(there[0], there[1], there[2], there[3], 28)
    np.testing.assert_array_equal(made.numpy(), compose(digits, background, place, corner))


def test_redrawn_images_keep_their_digit_and_change_their_place() -> None:
    digits = np.zeros((40, 21, 21), dtype=bool)
    for row, digit in enumerate(digits):
        digit.reshape(-1)[: row + 1] = True
    streams = RandomStreams([0])
    source = ComposedImages(
        torch.from_numpy(digits), torch.zeros(3, 28, 30, dtype=torch.uint8), 28, streams
    )
    index = torch.tensor([[5, 17, 39]])
    first, _ = source.gather(index)
    second, target = source.gather(index)
    assert first.shape == (1, 3, 3, 28, 28)
    for images in (first, second):
        assert images[0, :, 0].sum((1, 2)).tolist() == [6, 18, 40]
    assert not torch.equal(first, second)
    assert torch.equal(second, target)
    streams.reseed(0)
    assert torch.equal(source.gather(index)[0], first)


def test_rows_show_one_digit_and_each_image_once_per_view() -> None:
    """A black background shows the digits as they are, so images can be told."""
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    digits = random.random((60, 21, 21)) < 0.5
    black = {"a": np.zeros((3, 28, 28), np.uint8), "b": np.zeros((3, 28, 28), np.uint8)}
    rows, parts = paired_rows(digits, labels, black, seed=0, part="train")
    area = digits.sum((1, 2))
    taken = {}
    for view in black:
        shown = (rows.observations[view][:, 0] == 255).sum((1, 2))
        assert sorted(shown) == sorted(area)
        for label in range(3):
            of_label = labels == label
            assert sorted(shown[of_label]) == sorted(area[of_label])
        np.testing.assert_array_equal(parts[view].digits.sum((1, 2)), shown)
        taken[view] = shown
    assert (taken["a"] != taken["b"]).mean() > 0.8  # other images of the same digit


def test_digits_and_pieces_come_from_everywhere() -> None:
    ramp = np.arange(40 * 33).reshape(40, 33)
    background = np.stack([ramp % 251, ramp // 251, np.zeros_like(ramp)]).astype(np.uint8)
    dot = np.zeros((3000, 21, 21), dtype=bool)
    dot[:, 0, 0] = True
    rows, _ = paired_rows(dot, np.zeros(3000, dtype=int), {"a": background}, seed=0, part="test")
    images = rows.observations["a"]
    third = images[:, 2] == 255  # only the digit's dot is bright there
    assert {tuple(p) for p in np.argwhere(third)[:, 1:]} == {
        (y, x) for y in range(8) for x in range(8)
    }
    corner = images[:, :, 27, 27].astype(int)
    assert len(np.unique(corner[:, 0] + 251 * corner[:, 1])) == 13 * 6


def test_built_data_are_decided_by_the_seed_and_part(tmp_path: Path) -> None:
    mnist, views = write_mnist(tmp_path / "mnist"), write_backgrounds(tmp_path / "textures")

    def build(seed: int) -> np.ndarray:
        made = polymnist(mnist_dir=mnist, backgrounds=views, random_state=seed)
        return made.train.observations["view1"]

    state = np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    np.testing.assert_array_equal(build(1), build(1))
    assert (build(1) != build(2)).any()
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # type: ignore[index]  # noqa: NPY002


def test_parts_of_mnist_never_share_a_digit(tmp_path: Path) -> None:
    mnist, views = write_mnist(tmp_path / "mnist"), write_backgrounds(tmp_path / "textures")
    benchmark = polymnist(mnist_dir=mnist, backgrounds=views, n_train=40)
    assert benchmark.name == "PolyMNIST-style"
    assert [len(rows) for rows in benchmark.parts().values()] == [40, 10, 20]
    assert "view0, view1, view2" in benchmark.about
    # the last sixth of the training images validates: labels 50 to 59 are 0 to 9
    assert sorted(benchmark.validation.labels) == list(range(10))
    with pytest.raises(DataError, match="there are 50 digits for train rows, got n_train=51"):
        polymnist(mnist_dir=mnist, backgrounds=views, n_train=51)


def test_the_embedded_data_need_no_files_and_can_be_read() -> None:
    benchmark = polymnist(n_train=600, n_validation=20, n_test=300)
    assert benchmark.name == "PolyMNIST-style (small digits)"
    assert [m.name for m in benchmark.modalities] == ["china", "flower", "flower turned"]
    learned, asked = (rows.observations["flower"] for rows in (benchmark.train, benchmark.test))
    reader = ExtraTreesClassifier(100, random_state=0).fit(_edges(learned), benchmark.train.labels)
    assert reader.score(_edges(asked), benchmark.test.labels) > 0.3  # chance 0.1
    with pytest.raises(ParameterError, match="there are 3 views, got n_views=5"):
        polymnist(n_views=5)


def test_shrunk_digits_are_a_three_quarters_picture() -> None:
    square = np.zeros((1, 28, 28), dtype=np.uint8)
    square[0, 8:20, 8:20] = 255
    small = shrink(square)[0]
    assert small[7:14, 7:14].all()
    assert small.sum() == 81  # 12 pixels of 28 are 9 of 21


def test_a_ready_made_folder_is_read_by_number_not_by_order(tmp_path: Path) -> None:
    folder = write_polymnist(tmp_path / "poly")
    images, labels = read_polymnist_part(folder / "train", ["m0", "m1", "m2"])
    assert images["m1"][:, 0, 0, 0].tolist() == list(range(12))
    assert labels.tolist() == [row % 10 for row in range(12)]
    benchmark = polymnist(folder=folder, n_validation=2)
    assert benchmark.name == "PolyMNIST"
    assert [len(rows) for rows in benchmark.parts().values()] == [10, 2, 12]


def _corrupt(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def _enlarge(path: Path) -> None:
    Image.new("RGB", (28, 30)).save(path)


def _relabel(path: Path) -> None:
    path.rename(path.with_name("3.4.png"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_corrupt, r"3\.3\.png is no readable image"),
        (_enlarge, r"3\.3\.png is 28 x 30 pixels, expected 28 x 28"),
        (_relabel, r"row 3 shows a 3 in m0 and a 4 in m1 \(.*3\.4\.png\)"),
        (Path.unlink, r"m0.3\.3\.png has no partner in m1"),
        (lambda p: p.rename(p.with_name("three.png")), r"three\.png is not named row\.label\.png"),
    ],
)
def test_a_ready_made_folder_that_is_wrong_names_the_file(
    tmp_path: Path, spoil: object, message: str
) -> None:
    folder = write_polymnist(tmp_path / "poly")
    spoil(folder / "train" / "m1" / "3.3.png")  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        polymnist(folder=folder)


def test_backgrounds_that_cannot_serve_are_named(tmp_path: Path) -> None:
    folder = write_backgrounds(tmp_path / "textures")
    assert list(read_backgrounds(folder)) == ["view0", "view1", "view2"]
    Image.new("RGB", (27, 90)).save(folder / "narrow.png")
    with pytest.raises(DataError, match=r"narrow\.png is 27 x 90 pixels"):
        read_backgrounds(folder)
    with pytest.raises(DataError, match="is no folder"):
        read_backgrounds(tmp_path / "none")
    mnist = write_mnist(tmp_path / "mnist")
    with pytest.raises(DataError, match="2 views need as many backgrounds, got 1"):
        polymnist(mnist_dir=mnist, backgrounds=[folder / "view0.png"], n_views=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mnist_dir": "a"}, "mnist_dir and backgrounds go together"),
        ({"folder": "a", "mnist_dir": "b", "backgrounds": "c"}, "not both"),
        ({"n_views": 1}, "n_views must be at least 2"),
        ({"n_test": 0}, "n_test must be positive"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        polymnist(**arguments)  # type: ignore[arg-type]


@pytest.mark.real_data
def test_real_digits_on_real_textures_can_be_read() -> None:
    if not (DATA / "mnist").is_dir() or not (DATA / "textures").is_dir():
        pytest.skip("MNIST and textures are not here; set NEUROALIGN_DATA")
    benchmark = polymnist(
        mnist_dir=DATA / "mnist", backgrounds=DATA / "textures", n_train=2000, n_validation=10,
        n_test=500,
    )  # fmt: skip
    view = benchmark.modalities[2].name
    learned, asked = (rows.observations[view] for rows in (benchmark.train, benchmark.test))
    reader = ExtraTreesClassifier(100, random_state=0).fit(_edges(learned), benchmark.train.labels)
    assert reader.score(_edges(asked), benchmark.test.labels) > 0.2
