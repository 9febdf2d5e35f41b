"""CelebA's layout is read as it is, texts say what labels say, drawn faces show their attributes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from neuroalign.errors import DataError, DataWarning, ParameterError
from neuroalign.validation import celeba_images, drawn_faces
from neuroalign.validation.celeba import celeba, read_celeba
from neuroalign.validation.celeba_images import read_face
from neuroalign.validation.celeba_text import (
    ALPHABET,
    N_POSITIONS,
    attribute_words,
    attributes_of_text,
    decode_text,
    encode_text,
    labels_of_texts,
    place_text,
    write_texts,
)
from neuroalign.validation.drawn_faces import (
    DRAWN_ATTRIBUTES,
    HAIR_COLOURS,
    MARKER,
    draw_attributes,
    draw_faces,
)
from neuroalign.validation.face_drawing import draw_face

NAMES = ("Bald", "Big_Nose", "5_o_Clock_Shadow")
PRESENT = np.array(
    [[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 1]], dtype=bool
)
PART = [0, 0, 1, 2, 0, 1, 2]
FILES = [f"{number:06d}.jpg" for number in range(1, 8)]
CELEBA_NAMES = (  # noqa: SIM905 - forty lines otherwise
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose "
    "Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee "
    "Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard "
    "Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair "
    "Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young"
).split()


def write_image(path: Path, seed: int, size: tuple[int, int] = (178, 218)) -> None:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, quality=95)


def write_lists(folder: Path, *, form: str = "txt", absent: str = "-1") -> None:
    values = [["1" if one else absent for one in row] for row in PRESENT]
    rows = [[file, *row] for file, row in zip(FILES, values, strict=True)]
    parts = [[file, str(part)] for file, part in zip(FILES, PART, strict=True)]
    if form == "txt":
        head = [[str(len(FILES))], list(NAMES)]
        write_rows(folder / "list_attr_celeba.txt", [*head, *rows], "  ")
        write_rows(folder / "list_eval_partition.txt", parts, " ")
    else:
        write_rows(folder / "list_attr_celeba.csv", [["image_id", *NAMES], *rows], ",")
        write_rows(folder / "list_eval_partition.csv", [["image_id", "partition"], *parts], ",")


def write_rows(path: Path, rows: Sequence[Sequence[str]], between: str) -> None:
    path.write_text("".join(between.join(row) + "\n" for row in rows))


def change(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "celeba"
    (root / "img_align_celeba").mkdir(parents=True)
    for seed, file in enumerate(FILES):
        write_image(root / "img_align_celeba" / file, seed)
    write_lists(root)
    return root


def same(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )


# ------------------------------------------------------------------ reading


def test_rows_follow_the_partition_and_carry_image_text_and_labels(folder: Path) -> None:
    faces = read_celeba(folder)
    assert faces.name == "CelebA"
    assert faces.label_names == NAMES
    assert faces.multilabel
    for number, rows in enumerate(faces.parts().values()):
        places = np.flatnonzero(np.array(PART) == number)
        np.testing.assert_array_equal(rows.labels, PRESENT[places])
        np.testing.assert_array_equal(
            labels_of_texts(rows.observations["text"], NAMES), rows.labels
        )
        for row, place in enumerate(places):
            face = read_face(folder / "img_align_celeba" / FILES[place])
            np.testing.assert_array_equal(rows.observations["image"][row], face)
    image, text = faces.modalities
    assert (image.kind, image.shape, image.n_symbols) == ("image", (3, 64, 64), 0)
    assert (text.kind, text.shape, text.n_symbols) == ("text", (256,), 41)
    assert text.symbols == ALPHABET


def test_a_face_is_the_centre_crop_resized_as_pillow_does_it(folder: Path) -> None:
    path = folder / "img_align_celeba" / FILES[0]
    pixels = np.asarray(Image.open(path))
    assert pixels.shape == (218, 178, 3)
    crop = Image.fromarray(pixels[35:183, 15:163])
    expected = np.asarray(crop.resize((64, 64), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(read_face(path), np.moveaxis(expected, 2, 0))


def test_a_mark_in_the_middle_stays_in_the_middle(tmp_path: Path) -> None:
    pixels = np.zeros((218, 178, 3), dtype=np.uint8)
    pixels[105:113, 85:93, 1] = 255  # green, eight pixels around the centre (109, 89)
    Image.fromarray(pixels).save(tmp_path / "face.png")
    face = read_face(tmp_path / "face.png").astype(float)
    assert face[[0, 2]].max() == 0
    weights = face[1] / face[1].sum()
    places = np.arange(64) + 0.5
    assert weights.sum(axis=1) @ places == pytest.approx(32, abs=0.02)
    assert weights.sum(axis=0) @ places == pytest.approx(32, abs=0.02)


def test_grey_images_become_colour(tmp_path: Path) -> None:
    Image.new("L", (178, 218), 77).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_face(tmp_path / "grey.png"), np.full((3, 64, 64), 77))


@pytest.mark.parametrize("absent", ["-1", "0"])
def test_txt_and_csv_lists_say_the_same(folder: Path, absent: str) -> None:
    expected = read_celeba(folder)
    for path in folder.glob("list_*"):
        path.unlink()
    write_lists(folder, form="csv", absent=absent)
    found = read_celeba(folder)
    assert found.label_names == expected.label_names
    for part, rows in expected.parts().items():
        np.testing.assert_array_equal(rows.labels, found.parts()[part].labels)
        assert same(rows.observations, found.parts()[part].observations)


@pytest.mark.parametrize("layout", ["nested", "official"])
def test_other_layouts_are_found(folder: Path, layout: str) -> None:
    expected = read_celeba(folder)
    images = folder / "img_align_celeba"
    if layout == "nested":
        images.rename(folder / "inner")
        images.mkdir()
        (folder / "inner").rename(images / "img_align_celeba")
    else:
        for place in ("Img", "Anno", "Eval"):
            (folder / place).mkdir()
        images.rename(folder / "Img" / "img_align_celeba")
        (folder / "list_attr_celeba.txt").rename(folder / "Anno" / "list_attr_celeba.txt")
        (folder / "list_eval_partition.txt").rename(folder / "Eval" / "list_eval_partition.txt")
    assert same(read_celeba(folder).train.observations, expected.train.observations)


def test_fewer_faces_are_chosen_by_seed_and_kept_when_more_are_asked_for(tmp_path: Path) -> None:
    drawn = draw_faces(tmp_path / "faces", n_train=12, n_validation=2, n_test=2, n_jobs=1)
    whole = read_celeba(drawn).train.observations["image"]

    def chosen(number: int, seed: int = 0) -> list[int]:
        images = read_celeba(drawn, n_train=number, random_state=seed).train.observations["image"]
        return [int(np.flatnonzero((whole == image).all(axis=(1, 2, 3)))[0]) for image in images]

    assert chosen(12) == list(range(12))
    small, large = chosen(4), chosen(9)
    assert small == sorted(small)
    assert large == sorted(large)
    assert set(small) < set(large)
    assert small == chosen(4)
    assert any(chosen(4, seed) != small for seed in (1, 2, 3))


def test_a_text_depends_on_the_seed_and_the_face_only(folder: Path) -> None:
    texts = read_celeba(folder).train.observations["text"]
    np.testing.assert_array_equal(texts, read_celeba(folder).train.observations["text"])
    assert (texts != read_celeba(folder, random_state=1).train.observations["text"]).any()
    alone = read_celeba(folder, n_train=1).train.observations["text"][0]
    assert any(np.array_equal(alone, text) for text in texts)


# ------------------------------------------------------------------ what cannot be read


ATTRIBUTES, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"


@pytest.mark.parametrize(
    ("file", "before", "after", "message"),
    [
        (ATTRIBUTES, "7\n", "9\n", "announces 9 images in its first line, but lists 7"),
        (ATTRIBUTES, "7\n", "", "must be the number of images, got 'Bald Big_Nose"),
        (ATTRIBUTES, "Big_Nose", "Bald", "names the attribute 'Bald' twice"),
        (
            ATTRIBUTES,
            "000002.jpg  -1",
            "000002.jpg",
            r"line 4 of .*list_attr_celeba.txt \('000002.jpg'\) has 2 values, but there are 3",
        ),
        (
            ATTRIBUTES,
            "000003.jpg  1  1",
            "000003.jpg  1  2",
            r"line 5 of .*\('000003.jpg'\): 'Big_Nose' must be 1 or -1 .*, got '2'",
        ),
        (
            ATTRIBUTES,
            "000004.jpg  -1",
            "000004.jpg  0",
            r"line 6 of .*\('000004.jpg'\): 'Bald' is 0, but absent attributes are -1 elsewhere",
        ),
        (ATTRIBUTES, "000002.jpg", "000001.jpg", "'000001.jpg' twice, in lines 3 and 4"),
        (ATTRIBUTES, "000002.jpg", "../02.jpg", "must be the plain name of an image"),
        (PARTITION, "000003.jpg 1", "000003.jpg 3", "line 3 of .*, got '000003.jpg 3'"),
        (PARTITION, "000003.jpg 1", "000003.jpg", "line 3 of .*, got '000003.jpg'"),
        (
            PARTITION,
            "000007.jpg 2\n",
            "",
            r"'000007.jpg' is listed in .*attr_celeba.txt but not in .*partition.txt \(1 such",
        ),
        (
            PARTITION,
            "000007.jpg 2",
            "000007.jpg 2\n000008.jpg 2",
            r"'000008.jpg' is listed in .*partition.txt but not in .*attr_celeba.txt \(1 such",
        ),
    ],
)
def test_wrong_lists_are_named_with_file_line_and_image(
    folder: Path, file: str, before: str, after: str, message: str
) -> None:
    change(folder / file, before, after)
    with pytest.raises(DataError, match=message):
        read_celeba(folder)


def test_what_is_absent_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        read_celeba(folder / "nowhere")
    (folder / "img_align_celeba" / FILES[4]).unlink()
    with pytest.raises(DataError, match=r"has no image '000005.jpg' \(1 of 7 are absent\)"):
        read_celeba(folder)
    (folder / "img_align_celeba").rename(folder / "images")
    with pytest.raises(DataError, match="has no folder img_align_celeba"):
        read_celeba(folder)
    (folder / PARTITION).unlink()
    with pytest.raises(DataError, match=r"no list_eval_partition.txt and no list_eval_partition.c"):
        read_celeba(folder)


def test_damaged_and_small_images_are_named(folder: Path) -> None:
    path = folder / "img_align_celeba" / FILES[2]
    whole = path.read_bytes()
    for damaged in (b"", b"no image", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"000003.jpg cannot be read as an image"):
            read_celeba(folder)
    write_image(path, 0, size=(178, 140))
    with pytest.raises(DataError, match=r"000003.jpg has 178 x 140 pixels.*148 x 148"):
        read_celeba(folder)


def test_empty_parts_and_impossible_numbers_are_refused(folder: Path) -> None:
    with pytest.raises(ParameterError, match=r"n_train is 4, but .* has 3 train faces"):
        read_celeba(folder, n_train=4)
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ParameterError, match="n_test must be a positive whole number"):
            read_celeba(folder, n_test=wrong)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="n_jobs must be"):
        read_celeba(folder, n_jobs=0)
    change(folder / PARTITION, "000004.jpg 2", "000004.jpg 1")
    change(folder / PARTITION, "000007.jpg 2", "000007.jpg 1")
    with pytest.raises(DataError, match=r"has no test faces \(number 2\)"):
        read_celeba(folder)


# ------------------------------------------------------------------ cache


def test_the_cache_is_used_until_files_change(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "kept" / "faces.npz"
    expected = read_celeba(folder)
    first = read_celeba(folder, cache=cache)
    assert [path.name for path in cache.parent.iterdir()] == ["faces.npz"]
    read = []

    def counted(path: Path) -> np.ndarray:
        read.append(path.name)
        return read_face(path)

    monkeypatch.setattr(celeba_images, "read_face", counted)
    again = read_celeba(folder, cache=cache)
    assert not read
    for part, rows in expected.parts().items():
        assert same(rows.observations, first.parts()[part].observations)
        assert same(rows.observations, again.parts()[part].observations)
    read_celeba(folder, n_train=1, cache=cache)
    assert len(read) == 5  # other files: all of them are read
    write_image(folder / "img_align_celeba" / FILES[2], seed=99)
    changed = read_celeba(folder, cache=cache)
    image = changed.validation.observations["image"][0]
    np.testing.assert_array_equal(image, read_face(folder / "img_align_celeba" / FILES[2]))


def test_a_file_that_is_no_cache_is_left_alone(folder: Path, tmp_path: Path) -> None:
    notes, table, other = (tmp_path / name for name in ("notes.txt", "table.npy", "other.npz"))
    notes.write_text("mine")
    np.save(table, np.zeros(3))
    np.savez(other, mine=np.zeros(3))
    read_celeba(folder, cache=tmp_path / "cut.npz")
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-200])
    for path in (notes, table, other, tmp_path / "cut.npz"):
        before = path.read_bytes()
        with pytest.raises(DataError, match=f"{path.name} is no whole cache of read_celeba"):
            read_celeba(folder, cache=path)
        assert path.read_bytes() == before


# ------------------------------------------------------------------ text


@given(st.text(alphabet=ALPHABET, max_size=300))
def test_a_text_comes_back_from_its_numbers(text: str) -> None:
    numbers = encode_text(text)
    assert numbers.dtype == np.uint8
    assert len(numbers) == len(text)
    assert decode_text(numbers) == text


@given(st.lists(st.integers(0, 40), max_size=300))
def test_numbers_come_back_from_their_text(numbers: list[int]) -> None:
    assert encode_text(decode_text(np.array(numbers, dtype=np.int64))).tolist() == numbers


def test_the_alphabet_has_41_symbols_and_padding_is_the_first() -> None:
    assert len(ALPHABET) == len(set(ALPHABET)) == 41
    assert encode_text("*").tolist() == [0]
    for name in CELEBA_NAMES:
        assert attribute_words(name) == name.replace("_", " ").lower()


@given(st.sets(st.sampled_from(CELEBA_NAMES), max_size=14), st.integers(0, 1000))
def test_a_text_names_what_is_present_and_nothing_else(present: set[str], seed: int) -> None:
    text = place_text(sorted(present), np.random.default_rng(seed))
    assert len(text) == N_POSITIONS
    assert attributes_of_text(text, CELEBA_NAMES) == present
    words = text.strip("*").split(", ") if present else []
    assert sorted(words) == sorted(map(attribute_words, present))


@settings(deadline=None)
@given(st.permutations(CELEBA_NAMES), st.integers(0, 500))
def test_a_text_that_is_cut_gives_no_wrong_names(names: list[str], length: int) -> None:
    words = [attribute_words(name) for name in names]
    text = ", ".join(words)[:length]
    ends = np.cumsum([len(each) + 2 for each in words]) - 2
    whole = {name for name, end in zip(names, ends, strict=True) if end <= length}
    # the name at the cut may be known from its beginning, unless another begins like it
    at_cut = set(names[: len(whole) + 1])
    found = attributes_of_text(text, CELEBA_NAMES)
    assert whole <= found <= at_cut


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wearing lipst", {"Wearing_Lipstick"}),
        ("wearing neck", set()),  # a necklace or a necktie
        ("wearing lipst*", set()),  # not cut off: it ends in padding
        ("yo", set()),
        ("tache, young**", {"Mustache", "Young"}),
        ("*tache, young**", {"Young"}),
        ("**malex, youngest, bald***", {"Bald"}),
        ("*big nose smiling.male**", {"Big_Nose", "Smiling", "Male"}),
        ("****", set()),
        ("", set()),
    ],
)
def test_the_judge_of_texts_reads_whole_words_and_ends_that_are_cut(
    text: str, expected: set[str]
) -> None:
    assert attributes_of_text(text, CELEBA_NAMES) == expected


def test_a_longer_name_is_not_read_as_the_shorter_one_in_it() -> None:
    assert attributes_of_text("*no beard*", ["Beard", "No_Beard"]) == {"No_Beard"}
    assert attributes_of_text("*beard, no beard*", ["Beard", "No_Beard"]) == {"Beard", "No_Beard"}


def test_order_and_place_are_uniform() -> None:
    texts = [
        place_text(["Bald", "Male"], np.random.default_rng(seed), n_positions=15)
        for seed in range(3000)
    ]
    counts = {text: texts.count(text) for text in sorted(set(texts))}
    expected = {
        "*" * start + words + "*" * (5 - start)
        for words in ("bald, male", "male, bald")
        for start in range(6)
    }
    assert set(counts) == expected
    assert all(abs(count - 250) < 4.5 * np.sqrt(250 * 11 / 12) for count in counts.values())


def test_texts_that_do_not_fit_are_refused_or_cut_with_a_warning() -> None:
    generator = np.random.default_rng(0)
    assert len(place_text(["Bald", "Male"], generator, n_positions=10)) == 10
    with pytest.raises(DataError, match="names of 2 attributes take 10 symbols, but a text has 9"):
        place_text(["Bald", "Male"], generator, n_positions=9)
    labels = np.ones((2, 40), dtype=bool)
    labels[0, 3:] = False
    rows = ["1.jpg", "2.jpg"]
    length = sum(len(name) + 2 for name in CELEBA_NAMES) - 2
    with pytest.raises(DataError, match=rf"2.jpg: the names of 40 attributes take {length} symb"):
        write_texts(labels, CELEBA_NAMES, rows, seed=0)
    with pytest.warns(DataWarning, match=f"1 of 2 rows were cut to 256 .* longest has {length}"):
        texts = write_texts(labels, CELEBA_NAMES, rows, seed=0, long_texts="cut")
    assert attributes_of_text(decode_text(texts[0]), CELEBA_NAMES) == set(CELEBA_NAMES[:3])
    assert (texts[1] != 0).all()
    with pytest.raises(ParameterError, match="long_texts must be 'error' or 'cut', got 'drop'"):
        place_text(["Bald"], generator, long_texts="drop")  # type: ignore[arg-type]


def test_symbols_and_names_that_texts_cannot_hold_are_named() -> None:
    with pytest.raises(DataError, match="symbol 'B' at position 2 of 'a Bald' is not in"):
        encode_text("a Bald")
    with pytest.raises(DataError, match="symbol 'é' at position 1"):
        encode_text("bébé")
    with pytest.raises(DataError, match="symbols 0 to 40, got 41"):
        decode_text(np.array([3, 41]))
    with pytest.raises(DataError, match="must be whole and of shape"):
        decode_text(np.zeros((2, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"the attribute name 'Bald\*' has '\*'"):
        attribute_words("Bald*")
    with pytest.raises(DataError, match="'Big_Nose' and 'big nose' are both written 'big nose'"):
        write_texts(np.ones((1, 2), dtype=bool), ["Big_Nose", "big nose"], ["1"], seed=0)


# ------------------------------------------------------------------ drawn faces


@pytest.fixture(scope="module")
def many() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    rows = [draw_attributes(generator) for _ in range(8000)]
    return {name: np.array([row[name] for row in rows]) for name in DRAWN_ATTRIBUTES}


def test_frequencies_are_near_those_of_celeba(many: dict[str, np.ndarray]) -> None:
    original = {
        "Bald": 0.02,
        "Bangs": 0.15,
        "Big_Nose": 0.23,
        "Black_Hair": 0.24,
        "Blond_Hair": 0.15,
        "Brown_Hair": 0.21,
        "Bushy_Eyebrows": 0.14,
        "Eyeglasses": 0.07,
        "Goatee": 0.06,
        "Gray_Hair": 0.04,
        "Male": 0.42,
        "Mouth_Slightly_Open": 0.48,
        "Mustache": 0.04,
        "No_Beard": 0.83,
        "Pale_Skin": 0.04,
        "Rosy_Cheeks": 0.07,
        "Smiling": 0.48,
        "Wearing_Earrings": 0.19,
        "Wearing_Hat": 0.05,
        "Wearing_Lipstick": 0.47,
    }
    assert set(original) == set(DRAWN_ATTRIBUTES) <= set(CELEBA_NAMES)
    for name, expected in original.items():
        assert many[name].mean() == pytest.approx(expected, abs=0.04), name
        assert many[name].mean() > 0.02, name


def test_attributes_that_exclude_each_other_do(many: dict[str, np.ndarray]) -> None:
    male, hat, bald = many["Male"], many["Wearing_Hat"], many["Bald"]
    colours = np.sum([many[name] for name in HAIR_COLOURS], axis=0)
    assert colours.max() == 1
    assert 0.1 < (colours == 0).mean() < 0.4  # hair of no named colour, or none to be seen
    assert not (bald & ((colours > 0) | hat | many["Bangs"] | ~male)).any()
    assert not (hat & many["Bangs"]).any()
    assert not (hat & male & (colours > 0)).any()
    assert (hat & ~male & (colours > 0)).any()
    assert not (many["No_Beard"] & (many["Goatee"] | many["Mustache"])).any()
    assert (~many["No_Beard"] & ~many["Goatee"] & ~many["Mustache"]).any()  # full beards
    assert many["No_Beard"][~male].all()
    assert not (male & many["Wearing_Lipstick"]).any()
    smiling, is_open = many["Smiling"], many["Mouth_Slightly_Open"]
    assert is_open[smiling].mean() > 2 * is_open[~smiling].mean()


def attributes(*present: str) -> dict[str, bool]:
    return dict.fromkeys(DRAWN_ATTRIBUTES, False) | dict.fromkeys(present, True)


WOMAN = ("No_Beard",)
MAN = ("No_Beard", "Male", "Black_Hair")
PAIRS = {
    "Bald": (("No_Beard", "Male"), ("No_Beard", "Male", "Bald")),
    "Bangs": (WOMAN, (*WOMAN, "Bangs")),
    "Big_Nose": (WOMAN, (*WOMAN, "Big_Nose")),
    "Black_Hair": (WOMAN, (*WOMAN, "Black_Hair")),
    "Blond_Hair": (WOMAN, (*WOMAN, "Blond_Hair")),
    "Brown_Hair": (WOMAN, (*WOMAN, "Brown_Hair")),
    "Bushy_Eyebrows": (WOMAN, (*WOMAN, "Bushy_Eyebrows")),
    "Eyeglasses": (WOMAN, (*WOMAN, "Eyeglasses")),
    "Goatee": (MAN, ("Male", "Black_Hair", "Goatee")),
    "Gray_Hair": (WOMAN, (*WOMAN, "Gray_Hair")),
    "Male": (WOMAN, (*WOMAN, "Male")),
    "Mouth_Slightly_Open": (WOMAN, (*WOMAN, "Mouth_Slightly_Open")),
    "Mustache": (MAN, ("Male", "Black_Hair", "Mustache")),
    "No_Beard": (("Male", "Black_Hair"), MAN),
    "Pale_Skin": (WOMAN, (*WOMAN, "Pale_Skin")),
    "Rosy_Cheeks": (WOMAN, (*WOMAN, "Rosy_Cheeks")),
    "Smiling": (WOMAN, (*WOMAN, "Smiling")),
    "Wearing_Earrings": (WOMAN, (*WOMAN, "Wearing_Earrings")),
    "Wearing_Hat": (WOMAN, (*WOMAN, "Wearing_Hat")),
    "Wearing_Lipstick": (WOMAN, (*WOMAN, "Wearing_Lipstick")),
}


@cache
def small_face(present: tuple[str, ...], seed: int) -> np.ndarray:
    image = draw_face(attributes(*present), np.random.default_rng(seed))
    assert (image.size, image.mode) == ((178, 218), "RGB")
    with BytesIO() as file:
        image.save(file, format="JPEG", quality=drawn_faces.QUALITY)
        return read_face(file)


@pytest.mark.parametrize("name", DRAWN_ATTRIBUTES)
def test_every_attribute_is_seen_in_the_small_crop_of_every_face(name: str) -> None:
    without, present = PAIRS[name]
    assert (name in present, name in without) == (True, False)
    for seed in range(8):
        faces = [small_face(case, seed).astype(int) for case in (without, present)]
        changed = np.abs(faces[0] - faces[1]).max(axis=0) > 25
        # noise has a standard deviation of 3 before averaging: 25 levels are never noise
        assert changed.sum() >= 8, seed


def test_nothing_but_the_attribute_changes_between_two_faces_of_one_seed() -> None:
    bare, glasses = (
        np.asarray(draw_face(attributes(*case), np.random.default_rng(3))).astype(int)
        for case in (WOMAN, (*WOMAN, "Eyeglasses"))
    )
    assert (bare[150:] == glasses[150:]).all()
    assert (bare[:70] == glasses[:70]).all()


def test_drawn_faces_lie_as_celeba_does_and_are_named_for_what_they_are(tmp_path: Path) -> None:
    drawn = draw_faces(tmp_path / "new" / "faces", n_train=5, n_validation=2, n_test=3, n_jobs=1)
    assert [path.name for path in drawn.parent.iterdir()] == ["faces"]
    assert "not CelebA" in (drawn / MARKER).read_text()
    assert (drawn / "list_attr_celeba.txt").read_text().splitlines()[0] == "10"
    with Image.open(drawn / "img_align_celeba" / "000010.jpg") as opened:
        assert (opened.format, opened.size) == ("JPEG", (178, 218))
    faces = read_celeba(drawn)
    assert faces.name == "CelebA-style (drawn faces)"
    assert "not CelebA" in faces.about
    assert [len(rows) for rows in faces.parts().values()] == [5, 2, 3]
    for rows in faces.parts().values():
        read = labels_of_texts(rows.observations["text"], faces.label_names)
        np.testing.assert_array_equal(read, rows.labels)
    (drawn / MARKER).unlink()
    assert read_celeba(drawn).name == "CelebA"


def test_the_same_faces_come_from_the_same_seed_whatever_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = celeba(n_train=3, n_validation=2, n_test=2, random_state=5)
    monkeypatch.setattr(drawn_faces, "BATCH", 2)  # so that two processes draw
    drawn = draw_faces(
        tmp_path / "more", n_train=6, n_validation=2, n_test=2, random_state=5, n_jobs=2
    )
    more = read_celeba(drawn, random_state=5)
    for part, rows in first.parts().items():
        other = more.parts()[part].first(len(rows))
        np.testing.assert_array_equal(rows.labels, other.labels)
        np.testing.assert_array_equal(rows.observations["image"], other.observations["image"])
    third = celeba(n_train=3, n_validation=2, n_test=2, random_state=6)
    assert (third.train.observations["image"] != first.train.observations["image"]).any()
    again = celeba(n_train=3, n_validation=2, n_test=2, random_state=5)
    assert same(again.train.observations, first.train.observations)
    read = celeba(drawn, n_train=2, random_state=5)
    assert len(read.train) == 2


def test_faces_are_not_drawn_over_something(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_text("precious")
    with pytest.raises(DataError, match="mine exists and is not empty"):
        draw_faces(tmp_path / "mine")
    with pytest.raises(ParameterError, match="n_validation must be a positive whole number, got 0"):
        draw_faces(tmp_path / "new", n_validation=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]
    (tmp_path / "empty").mkdir()
    drawn = draw_faces(tmp_path / "empty", n_train=1, n_validation=1, n_test=1)
    assert (drawn / MARKER).exists()


def test_reading_and_drawing_leave_the_global_random_state_alone(folder: Path) -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_celeba(folder)
        celeba(n_train=1, n_validation=1, n_test=1)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]  # noqa: NPY002
