"""PolyMNIST is built by rule, read with its pairs checked, and refuses what is wrong."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.ensemble import ExtraTreesClassifier

from neuroalign.errors import DataError, ParameterError
from neuroalign.nn.random import RandomStreams
from neuroalign.validation import polymnist as building
from neuroalign.validation.idx_files import read_idx, read_mnist
from neuroalign.validation.image_folders import (
    list_polymnist_part,
    read_backgrounds,
    read_polymnist_rows,
)
from neuroalign.validation.polymnist import compose, paired_rows, polymnist, shrink
from neuroalign.validation.sources import ComposedImages, compose_images

DATA = Path(os.environ.get("NEUROALIGN_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


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


def write_published_names(folder: Path, counts: tuple[int, ...] = (30, 12)) -> Path:
    """Write names as the published programs do, which count within each class.

    The first pixel tells the class, the second the number, the third the view.
    """
    for part in ("train", "test"):
        for view in range(2):
            (folder / part / f"m{view}").mkdir(parents=True)
            for label, number in enumerate(counts):
                for row in range(number):
                    pixels = np.zeros((28, 28, 3), dtype=np.uint8)
                    pixels[0, :3, 0] = label, row, view
                    Image.fromarray(pixels).save(folder / part / f"m{view}" / f"{row}.{label}.png")
    return folder


@pytest.fixture
def digits_of_parts(monkeypatch: pytest.MonkeyPatch) -> list[set[bytes]]:
    """Collect the grey digits that each part is built of: training, validation, test."""
    collected: list[set[bytes]] = []

    def remember(digits: np.ndarray) -> np.ndarray:
        collected.append({digit.tobytes() for digit in digits})
        return shrink(digits)

    monkeypatch.setattr(building, "shrink", remember)
    return collected


def assert_apart(parts: list[set[bytes]], sizes: list[int]) -> None:
    """Check that no digit is in two parts, nor twice in one."""
    assert [len(part) for part in parts] == sizes
    assert len(set().union(*parts)) == sum(sizes)


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
        # a time of writing would give the test another name in every process
        (gzip.compress(idx_bytes(np.zeros(300)), mtime=0)[:-9], "is damaged"),
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


@pytest.mark.parametrize(
    ("place", "corner", "message"),
    [
        ((-1, 0), (0, 0), r"place must lie within 0 to 7 and 0 to 7, got \(-1, 0\)"),
        ((0, 8), (0, 0), r"place must lie within 0 to 7 and 0 to 7, got \(0, 8\)"),
        ((7, 7), (12, 6), r"corner must lie within 0 to 12 and 0 to 5, got \(12, 6\)"),
    ],
)
def test_nothing_is_composed_beyond_the_edge(
    place: tuple[int, int], corner: tuple[int, int], message: str
) -> None:
    background = np.zeros((3, 40, 33), dtype=np.uint8)
    ink = np.ones((1, 21, 21), dtype=bool)
    with pytest.raises(ParameterError, match=message):
        compose(ink, background, np.array([place]), np.array([corner]))


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


def test_seed_part_and_view_each_decide_pairs_places_and_pieces() -> None:
    random = np.random.default_rng(1)
    digits = random.random((40, 21, 21)) < 0.5
    labels = np.zeros(40, dtype=int)
    background = random.integers(0, 256, (3, 60, 60)).astype(np.uint8)

    def build(seed: int, part: str, view: str) -> np.ndarray:
        rows, _ = paired_rows(digits, labels, {view: background}, seed=seed, part=part)
        return np.asarray(rows.observations[view])

    first = build(0, "train", "a")
    np.testing.assert_array_equal(first, build(0, "train", "a"))
    for other in (build(1, "train", "a"), build(0, "test", "a"), build(0, "train", "b")):
        assert (first != other).any(axis=(1, 2, 3)).all()


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


def test_no_small_digit_is_in_two_parts(digits_of_parts: list[set[bytes]]) -> None:
    benchmark = polymnist(random_state=3)
    sizes = [len(rows) for rows in benchmark.parts().values()]
    assert sum(sizes) == 1797
    assert_apart(digits_of_parts, sizes)


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
    views = ["m0", "m1", "m2"]
    rows = list_polymnist_part(folder / "train", views)
    assert rows == [(row, row % 10) for row in range(12)]
    images, labels = read_polymnist_rows(folder / "train", views, rows[::-1])
    assert images["m1"][:, 0, 0, 0].tolist() == list(range(11, -1, -1))
    assert labels.tolist() == [row % 10 for row in range(11, -1, -1)]
    benchmark = polymnist(folder=folder, n_validation=2)
    assert benchmark.name == "PolyMNIST"
    assert [len(rows) for rows in benchmark.parts().values()] == [10, 2, 12]


def test_published_folders_count_within_each_class(tmp_path: Path) -> None:
    """Row 5 of the zeros and row 5 of the ones are two rows."""
    folder = write_published_names(tmp_path / "poly")
    benchmark = polymnist(folder=folder, n_views=2)
    assert [len(rows) for rows in benchmark.parts().values()] == [38, 4, 42]
    seen: list[tuple[int, int]] = []
    for rows in benchmark.parts().values():
        told = {view: images[:, 0, 0, :3] for view, images in rows.observations.items()}
        np.testing.assert_array_equal(told["m0"][:, 0], rows.labels)
        np.testing.assert_array_equal(told["m0"][:, :2], told["m1"][:, :2])
        assert set(told["m0"][:, 2]) == {0}
        assert set(told["m1"][:, 2]) == {1}
        seen += [tuple(row) for row in told["m0"][:, :2].tolist()]
    both = [(label, row) for label, number in ((0, 30), (1, 12)) for row in range(number)]
    assert sorted(seen) == sorted(both * 2)  # once in training or validation, once in test


def test_rows_that_validate_are_drawn_and_no_class_is_left_out(tmp_path: Path) -> None:
    """The last rows by number would all be of the class with most images."""
    folder = write_published_names(tmp_path / "poly", (40, 20))

    def drawn(seed: int, n_train: int | None = None) -> list[tuple[int, int]]:
        made = polymnist(
            folder=folder, n_views=2, n_train=n_train, n_validation=18, random_state=seed
        )
        told = made.validation.observations["m0"][:, 0, 0, :2].tolist()
        return [tuple(row) for row in told]

    assert {label for label, _ in drawn(0)} == {0, 1}
    assert drawn(0) == drawn(0, n_train=5)
    assert drawn(0) != drawn(1)


def test_more_ready_made_rows_than_there_are_cannot_be_had(tmp_path: Path) -> None:
    folder = write_polymnist(tmp_path / "poly")
    with pytest.raises(DataError, match=r"test has 12 rows, got n_test=13"):
        polymnist(folder=folder, n_test=13)
    with pytest.raises(DataError, match="12 rows, too few for 11 training and 2 validation rows"):
        polymnist(folder=folder, n_train=11, n_validation=2)
    with pytest.raises(DataError, match="12 rows, too few for any training and 12 validation"):
        polymnist(folder=folder, n_validation=12)
    with pytest.raises(DataError, match=r"train.m3 is no folder; expected one view of PolyMNIST"):
        polymnist(folder=folder, n_views=5)


def test_tensors_in_place_of_images_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "m0.pt").touch()
    with pytest.raises(DataError, match=r"m0\.pt holds tensors of torch; expected the folder"):
        polymnist(folder=tmp_path)


def test_hidden_files_beside_images_are_passed_over(tmp_path: Path) -> None:
    folder, textures = write_polymnist(tmp_path / "poly"), write_backgrounds(tmp_path / "textures")
    (folder / "train" / "m0" / "._0.0.png").write_bytes(b"Mac OS X")
    (textures / "._view0.png").write_bytes(b"Mac OS X")
    assert len(list_polymnist_part(folder / "train", ["m0", "m1"])) == 12
    assert len(read_backgrounds(textures)) == 3


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
        (lambda p: p.rename(p.with_name("3.11.png")), r"3\.11\.png has the label 11; expected 0"),
        (
            lambda p: p.with_name("03.3.png").write_bytes(p.read_bytes()),
            r"(03\.3\.png and 3\.3\.png|3\.3\.png and 03\.3\.png) are one row",
        ),
    ],
)
def test_a_ready_made_folder_that_is_wrong_names_the_file(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    folder = write_polymnist(tmp_path / "poly")
    spoil(folder / "train" / "m1" / "3.3.png")
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
    Image.fromarray(np.full((40, 40), 4000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png has more than 8 bits a channel \(.* I;16\)"):
        read_backgrounds([tmp_path / "deep.png"])
    with pytest.raises(DataError, match=r"absent\.png does not exist"):
        read_backgrounds([tmp_path / "absent.png"])
    with pytest.raises(DataError, match="two backgrounds are called 'view0'"):
        read_backgrounds([folder / "view0.png", folder / "view0.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no image \(\.png, "):
        read_backgrounds(tmp_path / "empty")
    mnist = write_mnist(tmp_path / "mnist")
    with pytest.raises(DataError, match="2 views need as many backgrounds, got 1"):
        polymnist(mnist_dir=mnist, backgrounds=[folder / "view0.png"], n_views=2)


def test_small_digits_go_on_backgrounds_of_ones_own(tmp_path: Path) -> None:
    folder = write_backgrounds(tmp_path / "textures")
    told = {"n_train": 20, "n_validation": 10, "n_test": 10}
    own, usual = polymnist(backgrounds=folder, **told), polymnist(**told)
    assert [view.name for view in own.modalities] == ["view0", "view1", "view2"]
    assert own.about.startswith("scikit-learn's 1,797 digits of 8 x 8 pixels on pieces of view0, ")
    np.testing.assert_array_equal(own.train.labels, usual.train.labels)
    inked = [
        sorted(benchmark.ingredients[view].digits.sum((1, 2)).tolist())
        for benchmark, view in ((own, "view0"), (usual, "china"))
    ]
    assert inked[0] == inked[1]  # the same digits, paired otherwise
    with pytest.raises(DataError, match="4 views need as many backgrounds, got 3"):
        polymnist(backgrounds=folder, n_views=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mnist_dir": "a"}, "mnist_dir needs backgrounds: a folder of images"),
        ({"folder": "a", "mnist_dir": "b", "backgrounds": "c"}, "not both"),
        ({"n_views": 1}, "n_views must be a whole number of at least 2, got 1"),
        ({"n_views": 2.5}, "n_views must be a whole number of at least 2, got 2.5"),
        ({"n_test": 0}, "n_test must be a positive whole number or None, got 0"),
        ({"n_train": "9"}, "n_train must be a positive whole number or None, got '9'"),
        ({"n_validation": True}, "n_validation must be a positive whole number or None, got True"),
        ({"random_state": -1}, "random_state must not be negative"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        polymnist(**arguments)  # type: ignore[arg-type]


@pytest.mark.real_data
@pytest.mark.skipif(
    not ((DATA / "mnist").is_dir() and (DATA / "textures").is_dir()),
    reason=f"no mnist and textures in {DATA}",
)
def test_real_digits_on_real_textures_are_paired_and_can_be_read(
    digits_of_parts: list[set[bytes]],
) -> None:
    benchmark = polymnist(
        mnist_dir=DATA / "mnist", backgrounds=DATA / "textures", n_train=2000, n_validation=100,
        n_test=500,
    )  # fmt: skip
    assert_apart(digits_of_parts, [2000, 100, 500])
    train, test = benchmark.train, benchmark.test
    images, labels = read_mnist(DATA / "mnist")["train"]
    known = {
        ink.tobytes(): label
        for ink, label in zip(shrink(images[:50_000]), labels[:50_000], strict=True)
    }
    for view, parts in benchmark.ingredients.items():  # every view shows the row's digit
        shown = np.array([known[digit.tobytes()] for digit in parts.digits])
        assert (shown == train.labels).mean() > 0.999  # a few shrunk digits are equal
        reader = ExtraTreesClassifier(60, random_state=0)
        reader.fit(_edges(train.observations[view]), train.labels)
        # chance 0.1 with a standard error of 0.013
        assert reader.score(_edges(test.observations[view]), test.labels) > 0.15
    first, second = (benchmark.ingredients[m.name].digits for m in benchmark.modalities[:2])
    assert (first != second).any(axis=(1, 2)).mean() > 0.95  # other images of one digit
