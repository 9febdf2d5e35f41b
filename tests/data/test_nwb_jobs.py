"""NWB files read with several threads, which unpack compressed spike times."""

from __future__ import annotations

import re
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nwb_examples import SPEC, example_spikes, write_example

from neuroalign.data import nwb, nwb_chunks, nwb_session
from neuroalign.data.nwb import read_nwb
from neuroalign.data.nwb_chunks import read_values
from neuroalign.errors import DataError, ParameterError, SpecError


@pytest.fixture(scope="module")
def animals(tmp_path_factory) -> list[Path]:
    """Four animals, of whom the second's spike times are compressed."""
    folder = tmp_path_factory.mktemp("animals")
    paths = []
    for number, name in enumerate(["stella", "mitt", "ada", "bea"]):
        spikes = example_spikes(2 + number, seed=number)
        paths.append(write_example(folder / f"{number}.nwb", subject=name, spikes=spikes))
    with h5py.File(paths[1], "a") as file:
        pack(file["units"], "spike_times", chunks=(7,), compression="gzip")
    return paths


def pack(group: h5py.Group, name: str, **options: Any) -> None:
    values, attributes = group[name][:], dict(group[name].attrs)
    del group[name]
    dataset = group.create_dataset(name, data=values, **options)
    for key, value in attributes.items():
        dataset.attrs[key] = value


@pytest.mark.parametrize("n_jobs", [2, 3, -1])
def test_several_threads_give_what_one_gives(animals, n_jobs):
    alone = read_nwb(animals, SPEC)
    assert list(alone.children) == ["stella", "mitt", "ada", "bea"]
    together = read_nwb(animals, SPEC, n_jobs=n_jobs)
    assert list(together.children) == list(alone.children)
    assert together.identical(alone)


def test_threads_unpack_what_is_compressed(animals, monkeypatch):
    real, threads = zlib.decompress, set()

    def watched(*args, **keywords):
        threads.add(threading.get_ident())
        time.sleep(0.02)
        return real(*args, **keywords)

    monkeypatch.setattr(nwb_chunks.zlib, "decompress", watched)
    read_nwb(animals, SPEC, n_jobs=2)
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def test_units_of_several_files_keep_their_order(tmp_path):
    for number in range(3):
        write_example(tmp_path / f"{number}.nwb", spikes=example_spikes(2, seed=number))
    alone = read_nwb(tmp_path, SPEC, sessions="concatenate")
    assert read_nwb(tmp_path, SPEC, sessions="concatenate", n_jobs=3).identical(alone)


def test_the_first_bad_file_is_named(animals, tmp_path):
    bad = tmp_path / "bad.nwb"
    bad.write_bytes(b"not HDF5 at all")
    worse = tmp_path / "worse.nwb"
    write_example(worse, subject="eve")
    with h5py.File(worse, "a") as file:
        del file["units"]
    files = [animals[0], worse, bad, *animals[1:]]
    said = []
    for n_jobs in (1, 3):
        with pytest.raises(DataError) as raised:
            read_nwb(files, SPEC, n_jobs=n_jobs)
        said.append((str(raised.value), type(raised.value.__cause__)))
    assert said[0] == said[1]
    assert said[0][0].startswith(f"{worse} has no units table")
    with pytest.raises(DataError, match="is not a readable NWB") as raised:
        read_nwb([animals[0], bad], SPEC, n_jobs=2)
    assert isinstance(raised.value.__cause__, OSError)


def test_a_second_file_of_a_subject_is_refused_before_a_later_bad_one(animals, tmp_path):
    again = write_example(tmp_path / "again.nwb", subject="stella")
    bad = tmp_path / "bad.nwb"
    bad.write_bytes(b"not HDF5 at all")
    for n_jobs in (1, 2):
        with pytest.raises(DataError, match="two files are of subject 'stella'"):
            read_nwb([animals[0], again, bad], SPEC, n_jobs=n_jobs)


def test_what_pynwb_must_read_is_read_with_threads_too(animals, monkeypatch):
    def puzzled(*args, **keywords):
        raise KeyError("an unusual layout")

    alone = read_nwb(animals, SPEC)
    monkeypatch.setattr(nwb_session, "read_session", puzzled)
    together = read_nwb(animals, SPEC, n_jobs=3)
    for name in alone.children:
        np.testing.assert_array_equal(together[name]["spike_time"], alone[name]["spike_time"])


def test_the_progress_bar_counts_files_as_they_are_read(animals, capsys):
    alone = read_nwb(animals, SPEC)
    assert read_nwb(animals, SPEC, progress=True, n_jobs=2).identical(alone)
    shown = capsys.readouterr().err
    assert "reading: 100%" in shown
    assert re.search(r"\b4/4\b", shown)


def test_errors_of_the_spec_come_through(animals):
    spec = {**SPEC, "trials": {"onset": "never"}}
    said = []
    for n_jobs in (1, 2):
        with pytest.raises(SpecError) as raised:
            read_nwb(animals, spec, n_jobs=n_jobs)
        said.append(str(raised.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("n_jobs", [0, -2, 1.5, "2", True, None])
def test_numbers_of_jobs_that_make_no_sense(animals, n_jobs):
    with pytest.raises(ParameterError) as raised:
        read_nwb(animals, SPEC, n_jobs=n_jobs)
    assert str(raised.value) == (
        f"n_jobs must be a positive whole number, or -1 for all cores, got {n_jobs!r}."
    )


# compressed columns


@pytest.fixture(scope="module")
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def in_memory() -> h5py.File:
    return h5py.File("nowhere.h5", "w", driver="core", backing_store=False)


GZIP_ALONE = ({"compression"}, {"compression", "compression_opts"})


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(0, 60),
    chunk=st.integers(1, 25),
    kind=st.sampled_from(["<f8", ">f8", "<f4", "<i8", "<u2"]),
    options=st.sampled_from(
        [
            {},
            {"compression": "gzip"},
            {"compression": "gzip", "compression_opts": 9},
            {"compression": "gzip", "shuffle": True},
            {"compression": "gzip", "fletcher32": True},
            {"compression": "lzf"},
            {"shuffle": True},
        ]
    ),
    fill=st.sampled_from([0, 3]),
    hole=st.booleans(),
)
def test_values_are_those_that_hdf5_reads(threads, size, chunk, kind, options, fill, hole):
    values = np.arange(size).astype(kind) + 1
    with in_memory() as file:
        dataset = file.create_dataset(
            "x",
            shape=(size,),
            maxshape=(None,),
            dtype=kind,
            chunks=(chunk,),
            fillvalue=fill,
            **options,
        )
        dataset[: size // 2 if hole else size] = values[: size // 2 if hole else size]
        found = read_values(dataset, threads)
        assert found.dtype == dataset.dtype
        np.testing.assert_array_equal(found, dataset[:])
        assert nwb_chunks._is_packed_column(dataset) == (
            set(options) in GZIP_ALONE and options["compression"] == "gzip"
        )
        if nwb_chunks._is_packed_column(dataset):  # what fails is read by HDF5, which would hide it
            np.testing.assert_array_equal(nwb_chunks._unpacked(dataset, threads), dataset[:])


def test_a_chunk_stored_without_its_filter_is_read(threads):
    values = np.arange(6, dtype="<f8")
    with in_memory() as file:
        dataset = file.create_dataset("x", data=values, chunks=(4,), compression="gzip")
        dataset.id.write_direct_chunk((0,), values[:4].tobytes(), filter_mask=1)
        assert nwb_chunks._is_packed_column(dataset)
        np.testing.assert_array_equal(nwb_chunks._unpacked(dataset, threads), values)


def test_other_columns_go_through_hdf5(threads):
    with in_memory() as file:
        text = file.create_dataset("text", data=["a", "b"])
        flat = file.create_dataset("flat", data=np.arange(4.0))
        table = file.create_dataset("table", data=np.ones((4, 2)), compression="gzip")
        for dataset in (text, flat, table):
            assert not nwb_chunks._is_packed_column(dataset)
            np.testing.assert_array_equal(read_values(dataset, threads), dataset[:])


def test_a_damaged_chunk_ends_in_the_error_of_hdf5(tmp_path):
    path = write_example(tmp_path / "x.nwb")
    with h5py.File(path, "a") as file:
        pack(file["units"], "spike_times", chunks=(20,), compression="gzip")
        place = file["units/spike_times"].id.get_chunk_info(1).byte_offset
    assert read_nwb(path, SPEC)["mitt"].sizes["unit"] == 3
    content = bytearray(path.read_bytes())
    content[place : place + 8] = b"\xff" * 8
    path.write_bytes(content)
    for n_jobs in (1, 2):
        with pytest.raises(DataError, match="cannot be read to its end, it may be truncated"):
            read_nwb([path, path.with_name("x.nwb")], SPEC, n_jobs=n_jobs)


def test_the_file_given_twice_is_read_once_by_threads_too(animals):
    assert list(read_nwb([animals[0], animals[0]], SPEC, n_jobs=2).children) == ["stella"]
    assert nwb.find_files([animals[0], animals[0]]) == [(animals[0], None)]
