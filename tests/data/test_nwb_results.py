"""Results as NWB files: everything comes back, other readers see the same, originals stay."""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

import neuroalign as na
from neuroalign.data.nwb_results import SubjectResults, write_results
from neuroalign.data.nwb_results_session import default_session
from neuroalign.exporting import weights_hash
from neuroalign.schema import build_tree, map_subjects

UNITS = {"ada": 8, "bob": 6, "cleo": 7}
START = datetime.datetime(2021, 5, 4, 12, 30, tzinfo=datetime.UTC)
WRITTEN = datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)
QUICK: dict[str, Any] = {"max_epochs": 2, "random_state": 0, "verbose": False}


@dataclass(frozen=True)
class Study:
    """Recordings of three animals, a model, and what it says of held-out trials."""

    files: dict[str, Path]
    recordings: xr.DataTree
    train: xr.DataTree
    test: xr.DataTree
    model: na.SharedLatentModel
    scores: xr.Dataset
    imputed: xr.DataTree
    script: Path
    paths: dict[str, Path]

    def latents(self, subject: str) -> xr.Dataset:
        return self.model.transform(self.test)[subject].to_dataset()

    def write(self, folder: Path, **changes: Any) -> dict[str, Path]:
        """Write ada's file, which is enough to tell most things."""
        default = {"model": self.model, "windows": of_ada(self.test), "written": WRITTEN}
        arguments: dict[str, Any] = {**default, **changes}
        return na.write_nwb_results(folder, **arguments)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    simulated, _ = na.simulate_recordings(units=UNITS, trials=40, mean_rate=9, random_state=0)
    about: dict[str, Any] = {"species": "Mus musculus", "sex": "F", "age": "P90D"}
    files = na.write_nwb(simulated, folder / "data", session_start_time=START, **about)
    recordings = na.read_nwb(folder / "data", "simulated")
    windows = na.slide_windows(na.bin_spikes(recordings), step=0.05)
    train, test = na.split_trials(windows, stratify="odor", random_state=0)
    model = na.SharedLatentModel(3, **QUICK).fit(train, label="odor")
    scores = na.decode_labels(
        model.transform(train), model.transform(test), label="odor", permutations=9, bootstraps=9
    )
    imputed = model.impute(test, source="ada", target="bob")
    script = folder / "analysis.py"
    script.write_text("print('µ')\n", encoding="utf-8")
    paths = na.write_nwb_results(
        folder / "results",
        model=model,
        windows=test,
        imputed=[imputed, model.reconstruct(test)],
        scores=scores,
        recordings=recordings,
        script=script,
        written=WRITTEN,
    )
    return Study(files, recordings, train, test, model, scores, imputed, script, paths)


def of_ada(tree: xr.DataTree) -> xr.DataTree:
    return build_tree({"ada": tree["ada"].to_dataset()})


def bits(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float32).view(np.uint32)


def contents(path: Path) -> dict[str, Any]:
    """Return every dataset of a file except what pynwb draws at random."""
    found: dict[str, Any] = {}

    def keep(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and not node.dtype.metadata:
            found[name] = node[()].tobytes()
        elif isinstance(node, h5py.Dataset) and h5py.check_string_dtype(node.dtype):
            found[name] = np.asarray(node.asstr()[()]).tolist()

    with h5py.File(path, "r") as file:
        file["/"].visititems(keep)
    return found


# --- what comes back ----------------------------------------------------------------------------


@pytest.mark.parametrize("subject", UNITS)
def test_latents_come_back_bit_for_bit_with_their_labels(study: Study, subject: str) -> None:
    results = na.read_nwb_results(study.paths[subject])
    latents = study.latents(subject)
    assert results.subject == subject
    for name in ("mean", "scale"):
        assert results.latents[name].dtype == np.float32
        np.testing.assert_array_equal(bits(results.latents[name]), bits(latents[name]))
    xr.testing.assert_identical(results.latents, latents)


def test_imputed_and_reconstructed_counts_come_back(study: Study) -> None:
    results = na.read_nwb_results(study.paths["ada"])
    assert set(results.imputed) == {"imputed_bob_from_ada", "reconstructed_ada"}
    xr.testing.assert_identical(
        results.imputed["imputed_bob_from_ada"], study.imputed["bob"].to_dataset()
    )
    own = study.model.reconstruct(study.test)["ada"].to_dataset()
    xr.testing.assert_identical(results.imputed["reconstructed_ada"], own)
    # the trials are ada's, so bob's file has none of it
    assert list(na.read_nwb_results(study.paths["bob"]).imputed) == ["reconstructed_bob"]


def test_what_was_read_back_is_data_of_its_stage(study: Study) -> None:
    latents = build_tree(
        {name: na.read_nwb_results(path).latents for name, path in study.paths.items()}
    )
    train = study.model.transform(study.train)
    scores = na.decode_labels(train, latents, label="odor", permutations=9, bootstraps=9)
    xr.testing.assert_identical(scores, study.scores)


def test_decoded_labels_come_back(study: Study) -> None:
    decoded = na.read_nwb_results(study.paths["bob"]).decoded
    assert decoded is not None
    scores = study.scores
    mine = np.flatnonzero(scores["test_trial_subject"].values == "bob")
    assert set(decoded["train_subject"]) == {"ada", "bob", "cleo", "others"}
    assert len(decoded) == 4 * mine.size
    for row in decoded.itertuples():
        place = mine[scores["test_trial_id"].values[mine] == row.trial][0]
        one = scores.isel(test_trial=place).sel(train_subject=row.train_subject)
        assert row.predicted == one["predicted"].item()
        assert row.label == one["test_trial_label"].item()
        assert row.scored == one["scored"].item()
    for label in scores["predicted_label"].values.tolist():
        expected = scores["probability"].sel(train_subject="others", predicted_label=label)
        across = decoded[decoded["train_subject"] == "others"]
        np.testing.assert_array_equal(across[f"p({label})"], expected.values[mine])


def test_scores_stand_beside_their_chance_and_interval(study: Study) -> None:
    scores = na.read_nwb_results(study.paths["cleo"]).scores
    assert scores is not None
    wanted = na.scores_to_frame(study.scores).query("test_subject == 'cleo'")
    keys = ["level", "train_subject"]
    names = ["accuracy", "low", "high", "chance", "p_value"]
    left = scores.set_index(keys).sort_index()[names]
    right = wanted.set_index(keys).sort_index()[names]
    np.testing.assert_array_equal(left.to_numpy(), right.to_numpy())


def test_trials_say_whether_the_model_has_seen_them(study: Study, tmp_path: Path) -> None:
    windows = of_ada(na.slide_windows(na.bin_spikes(study.recordings), step=0.05))
    random = np.random.default_rng(0).permutation(windows["ada"].sizes["trial"])
    mixed = map_subjects(windows, lambda _, data: data.isel(trial=random))
    path = study.write(tmp_path, windows=mixed)["ada"]
    trials = na.read_nwb_results(path).trials
    fitted = study.train["ada"].to_dataset()["trial"].values
    assert set(trials.index[trials["in_fit"]]) == set(fitted.tolist())
    assert set(trials.index[~trials["in_fit"]]) == set(
        study.test["ada"].to_dataset()["trial"].values.tolist()
    )


# --- the clock ----------------------------------------------------------------------------------


def test_timestamps_are_centres_of_windows_and_bins(study: Study) -> None:
    from pynwb import NWBHDF5IO

    latents, expected = study.latents("ada"), study.imputed["bob"].to_dataset()
    frame, length = latents.attrs["frame_start"], latents.attrs["window_length"]
    with NWBHDF5IO(study.paths["ada"], "r") as reader:
        module = reader.read().processing["neuroalign"]
        series, rows = module["latent_mean"], module["latent_rows"]
        assert len(rows) == latents.sizes["trial"] * latents.sizes["window"]
        for k in range(len(rows)):
            one = latents.sel(trial=rows["trial"][k], window=rows["window"][k])
            time = float(one["onset"]) + frame + rows["window"][k] + length / 2
            assert series.timestamps[k] == pytest.approx(time, abs=1e-9)
            np.testing.assert_array_equal(bits(series.data[k]), bits(one["mean"]))
        # a trial's windows follow each other
        assert (np.diff(np.asarray(rows["trial"].data[:])) != 0).sum() == latents.sizes["trial"] - 1
        series, rows = module["imputed_bob_from_ada"], module["imputed_bob_from_ada_rows"]
        units = module["units_of_bob"]["unit"].data[:].tolist()
        assert units == study.model.unit_ids_["bob"]
        for k in range(0, len(rows), 7):
            one = expected.sel(trial=rows["trial"][k], time=rows["time"][k], unit=units)
            time = float(one["onset"]) + frame + rows["time"][k]
            assert series.timestamps[k] == pytest.approx(time, abs=1e-9)
            np.testing.assert_array_equal(bits(series.data[k]), bits(one["expected"]))
        assert series.unit == "spikes per bin"


def test_trials_in_another_order_are_written_by_time_and_come_back_by_id(
    study: Study, tmp_path: Path
) -> None:
    backwards = map_subjects(
        of_ada(study.test), lambda _, data: data.isel(trial=slice(None, None, -1))
    )
    imputed = study.model.impute(backwards, source="ada", target="bob")
    path = study.write(tmp_path, windows=backwards, imputed=imputed)["ada"]
    results = na.read_nwb_results(path)
    assert (np.diff(results.latents["onset"]) > 0).all()
    xr.testing.assert_identical(results.latents, study.latents("ada"))
    xr.testing.assert_identical(
        results.imputed["imputed_bob_from_ada"], study.imputed["bob"].to_dataset()
    )


def test_some_of_the_trials_may_be_imputed(study: Study, tmp_path: Path) -> None:
    windows = of_ada(na.slide_windows(na.bin_spikes(study.recordings), step=0.05))
    path = study.write(tmp_path, windows=windows, imputed=study.imputed)["ada"]
    expected = study.imputed["bob"].to_dataset()
    name = "imputed_bob_from_ada"
    xr.testing.assert_identical(na.read_nwb_results(path).imputed[name], expected)
    frame = windows["ada"].attrs["frame_start"]
    times = expected["onset"].values[:, None] + frame + expected["time"].values
    with h5py.File(path, "r") as file:
        written = file[f"processing/neuroalign/{name}/timestamps"][:]
    np.testing.assert_allclose(written, times.ravel(), atol=1e-9)


def test_overlapping_frames_keep_time_ascending_and_lose_nothing(
    study: Study, tmp_path: Path
) -> None:
    close = map_subjects(
        study.model.transform(of_ada(study.test)),
        lambda _, data: data.assign_coords(
            onset=("trial", 5 + 0.07 * np.arange(data.sizes["trial"]))
        ),
    )
    path = study.write(tmp_path, windows=None, latents=close)["ada"]
    xr.testing.assert_identical(na.read_nwb_results(path).latents, close["ada"].to_dataset())
    with h5py.File(path, "r") as file:
        assert (np.diff(file["processing/neuroalign/latent_mean/timestamps"]) >= 0).all()
        trial = file["processing/neuroalign/latent_rows/trial"][:]
    assert (np.diff(trial) != 0).sum() > close["ada"].sizes["trial"] - 1


def test_without_onsets_the_clock_is_nominal_and_says_so(study: Study, tmp_path: Path) -> None:
    bare = map_subjects(
        study.model.transform(of_ada(study.test)),
        lambda _, data: data.drop_vars(["onset", "start", "stop"]),
    )
    path = study.write(tmp_path, windows=None, latents=bare)["ada"]
    results = na.read_nwb_results(path)
    xr.testing.assert_identical(results.latents, bare["ada"].to_dataset())
    assert results.provenance["clock"] == "nominal"
    assert (np.diff(results.trials["onset"]) > 0.25).all()
    with h5py.File(path, "r") as file:
        assert "The clock is nominal" in file["general/notes"].asstr()[()]


def test_the_clock_of_several_files_is_that_of_the_first(study: Study, tmp_path: Path) -> None:
    first = tmp_path / "probe1.nwb"
    second = tmp_path / "probe2.nwb"
    shutil.copy(study.files["ada"], first)
    later = map_subjects(study.recordings, lambda _, data: data)["ada"].to_dataset()
    later = later.assign_coords({k: later[k] + 100 for k in ("onset", "start", "stop")})
    later["spike_time"] = later["spike_time"] + 100
    na.write_nwb(build_tree({"ada": later}), tmp_path / "other", session_start_time=WRITTEN)
    shutil.move(tmp_path / "other" / "sub-ada.nwb", second)
    spec = na.load_spec("simulated").model_dump(exclude_none=True)
    spec["trials"].pop("keep")
    both = na.keep_spec_trials(study.recordings)  # only kept trials are in the second file
    na.write_nwb(build_tree({"ada": both["ada"].to_dataset()}), tmp_path / "kept")
    shutil.move(tmp_path / "kept" / "sub-ada.nwb", first)
    joined = na.read_nwb([first, second], "simulated", sessions="concatenate")
    windows = na.slide_windows(na.bin_spikes(joined), step=0.05)
    model = na.SharedLatentModel(2, **QUICK).fit(windows, label="odor")
    path = na.write_nwb_results(tmp_path / "out", model=model, windows=windows)["ada"]
    results = na.read_nwb_results(path)
    np.testing.assert_array_equal(results.latents["onset"], study.recordings["ada"]["onset"])
    assert [source["file"] for source in results.provenance["sources"]] == [first.name, second.name]
    with pytest.raises(na.DataError) as raised:
        na.write_nwb_results(
            tmp_path / "out2", model=model, windows=windows, sources={"ada": [second, first]}
        )
    assert str(raised.value) == (
        "times of subject 'ada' are on the clock of probe1.nwb, the first file that was read, got "
        "probe2.nwb first in sources; give probe1.nwb first."
    )


# --- other readers ------------------------------------------------------------------------------


def test_pynwb_reads_session_subject_and_trials(study: Study) -> None:
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(study.paths["ada"], "r") as reader:
        file = reader.read()
        assert file.session_start_time == START
        assert (file.subject.subject_id, file.subject.species) == ("ada", "Mus musculus")
        assert (file.subject.sex, file.subject.age) == ("F", "P90D")
        assert file.source_script == "print('µ')\n"
        assert file.source_script_file_name == "analysis.py"
        assert file.file_create_date[0] == WRITTEN
        trials = file.trials.to_dataframe()
        latents = study.latents("ada")
        assert trials["trial"].tolist() == latents["trial"].values.tolist()
        assert trials["odor"].tolist() == latents["odor"].values.tolist()
        assert trials["start_time"].tolist() == latents["start"].values.tolist()
        decoded = file.processing["neuroalign"]["decoded"].to_dataframe()
        own = study.scores.isel(
            test_trial=study.scores["test_trial_subject"].values == "ada"
        ).sel(train_subject="ada")  # fmt: skip
        assert decoded["predicted_within"].tolist() == own["predicted"].values.tolist()
        np.testing.assert_array_equal(np.stack(decoded["probability_within"]), own["probability"])


def test_units_have_the_spikes_of_the_recording(study: Study) -> None:
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(study.files["ada"], "r") as one, NWBHDF5IO(study.paths["ada"], "r") as other:
        before, after = one.read().units, other.read()
        assert after.units["unit"].data[:].tolist() == study.model.unit_ids_["ada"]
        for k in range(UNITS["ada"]):
            np.testing.assert_array_equal(before["spike_times"][k], after.units["spike_times"][k])
        region = after.processing["neuroalign"]["units_of_ada"]["spikes"]
        assert region.table is after.units
        assert region.data[:].tolist() == list(range(UNITS["ada"]))


def test_spikes_follow_their_unit_when_the_model_has_another_order(
    study: Study, tmp_path: Path
) -> None:
    from pynwb import NWBHDF5IO

    recording = study.recordings["ada"].to_dataset()
    recording = recording.isel(unit=[3, 1, 7, 0])  # spikes of the other units stay
    units = ["ada/7", "ada/0", "ada/3"]
    latents = study.latents("ada")
    results = SubjectResults(
        subject="ada",
        latents=latents,
        units={"ada": units},
        in_fit=np.zeros(latents.sizes["trial"], dtype=bool),
        session=default_session("ada"),
        provenance={},
        recording=recording,
    )
    path = write_results(results, tmp_path / "units.nwb", written=WRITTEN)
    with NWBHDF5IO(path, "r") as reader, NWBHDF5IO(study.files["ada"], "r") as original:
        table, before = reader.read().units, original.read().units
        assert table["unit"].data[:].tolist() == units
        for k, number in enumerate([7, 0, 3]):
            np.testing.assert_array_equal(table["spike_times"][k], before["spike_times"][number])


def test_pynapple_sees_the_same_latents(study: Study) -> None:
    import pynapple as nap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pynapple's own
        data = nap.load_file(str(study.paths["ada"]))
        frame, trials, units = data["latent_mean"], data["trials"], data["units"]
        imputed = data["imputed_bob_from_ada"]
    latents = study.latents("ada")
    assert isinstance(frame, nap.TsdFrame)
    values = latents["mean"].values.reshape(-1, latents.sizes["latent"])
    np.testing.assert_array_equal(bits(frame.d[:]), bits(values))
    centres = latents["onset"].values[:, None] + latents["window"].values
    centres = centres + latents.attrs["frame_start"] + latents.attrs["window_length"] / 2
    np.testing.assert_allclose(frame.t, centres.ravel(), atol=1e-9)
    assert trials["odor"].tolist() == latents["odor"].values.tolist()
    assert frame.restrict(trials).shape == frame.shape
    assert units["unit"].tolist() == study.model.unit_ids_["ada"]
    assert imputed.shape[1] == UNITS["bob"]
    data.close()  # left open, it would warn while another test runs


@pytest.mark.filterwarnings("ignore")  # nwbinspector's own libraries
def test_nwbinspector_finds_suggestions_at_most(study: Study, tmp_path: Path) -> None:
    from nwbinspector import Importance, inspect_nwbfile

    latents = study.model.transform(of_ada(study.test))
    bare = study.write(tmp_path, windows=None, latents=latents)
    known = {"check_experimenter_exists", "check_institution", "check_processing_module_name"}
    for path, unknown in [
        (study.paths["ada"], set()),
        # a file of nothing but latents cannot tell the species
        (bare["ada"], {"check_subject_species_exists"}),
    ]:
        found = list(inspect_nwbfile(nwbfile_path=path, skip_validate=False))
        assert {one.check_function_name for one in found} == known | unknown
        assert all(one.importance.value < Importance.CRITICAL.value for one in found)


# --- where it came from -------------------------------------------------------------------------


def test_provenance_says_what_made_the_results(study: Study, tmp_path: Path) -> None:
    provenance = na.read_nwb_results(study.paths["ada"]).provenance
    model = provenance["model"]
    assert provenance["versions"]["neuroalign"] == na.__version__
    assert provenance["written"] == WRITTEN.isoformat()
    assert provenance["clock"] == "session"
    assert model["parameters"]["max_epochs"] == QUICK["max_epochs"]
    assert (model["label"], model["classes"]) == ("odor", ["A", "B", "C", "D"])
    assert model["unit_ids"] == study.model.unit_ids_
    source = provenance["sources"][0]
    with h5py.File(study.files["ada"], "r") as file:
        assert source["identifier"] == file["identifier"].asstr()[()]
        assert source["object_id"] == file.attrs["object_id"]
    assert source["file"] == "sub-ada.nwb"
    loaded = na.SharedLatentModel.load(study.model.save(tmp_path / "model"))
    assert weights_hash(loaded.fitted_) == model["weights_sha256"]


def test_the_hash_is_of_the_weights_and_changes_with_any_of_them(study: Study) -> None:
    fitted = study.model.fitted_
    before = weights_hash(fitted)
    parameter = next(iter(fitted.vae.parameters()))
    kept = parameter.data.clone()
    try:
        parameter.data.view(-1)[0] += 1e-6
        assert weights_hash(fitted) != before
    finally:
        parameter.data.copy_(kept)
    assert weights_hash(fitted) == before


def test_equal_input_gives_equal_content(study: Study, tmp_path: Path) -> None:
    first, second = (study.write(tmp_path / name)["ada"] for name in ("a", "b"))
    assert contents(first) == contents(second)
    assert len(contents(first)) > 20
    other = study.write(tmp_path / "c", windows=of_ada(study.train))["ada"]
    assert contents(other)["identifier"] != contents(first)["identifier"]


def test_without_sources_defaults_are_neutral(study: Study, tmp_path: Path) -> None:
    from pynwb import NWBHDF5IO

    latents = study.model.transform(of_ada(study.test))
    path = study.write(tmp_path, windows=None, latents=latents)["ada"]
    with NWBHDF5IO(path, "r") as reader:
        file = reader.read()
        assert file.session_start_time == datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
        assert (file.subject.sex, file.subject.age, file.subject.species) == ("U", "P0D/", None)
        assert file.units is None
    assert na.read_nwb_results(path).provenance["sources"] == []


def test_a_subject_may_bear_another_name_than_its_animal(study: Study, tmp_path: Path) -> None:
    from pynwb import NWBHDF5IO

    path = study.write(tmp_path, sources={"ada": study.files["bob"]})["ada"]
    with NWBHDF5IO(path, "r") as reader:
        assert reader.read().subject.subject_id == "bob"
    assert na.read_nwb_results(path).subject == "ada"


def test_a_file_that_is_gone_is_named_and_warned_of(study: Study, tmp_path: Path) -> None:
    gone = map_subjects(
        of_ada(study.test), lambda name, data: data.assign_attrs(source_files=f'["old/{name}.nwb"]')
    )
    with pytest.warns(na.DataWarning, match="old/.*is not there: .* name the file in sources"):
        path = study.write(tmp_path, windows=gone)["ada"]
    assert na.read_nwb_results(path).provenance["sources"] == [{"file": "ada.nwb"}]


# --- originals and earlier results --------------------------------------------------------------


def test_sources_are_never_replaced(study: Study, tmp_path: Path) -> None:
    name = "sub-ada_desc-neuroalign.nwb"
    original = tmp_path / name
    shutil.copy(study.files["ada"], original)
    before = hashlib.sha256(original.read_bytes()).hexdigest()
    message = "is a source of these results and is never replaced; give another folder."
    for overwrite in (False, True):
        with pytest.raises(na.DataError, match=message):
            study.write(tmp_path, sources={"ada": original}, overwrite=overwrite)
    linked = tmp_path / "linked"
    linked.mkdir()
    os.link(original, linked / name)
    with pytest.raises(na.DataError, match=message):
        study.write(linked, sources={"ada": original}, overwrite=True)
    assert hashlib.sha256(original.read_bytes()).hexdigest() == before
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [name]


def test_only_results_are_replaced_and_only_when_told(study: Study, tmp_path: Path) -> None:
    path = study.write(tmp_path)["ada"]
    before = path.read_bytes()
    with pytest.raises(na.DataError) as raised:
        study.write(tmp_path)
    assert str(raised.value) == (
        f"{path} exists; pass overwrite=True to replace it, or give another folder."
    )
    assert path.read_bytes() == before
    study.write(tmp_path, imputed=study.imputed, overwrite=True)
    assert list(na.read_nwb_results(path).imputed) == ["imputed_bob_from_ada"]
    shutil.copy(study.files["cleo"], path)
    with pytest.raises(na.DataError) as raised:
        study.write(tmp_path, overwrite=True)
    assert str(raised.value) == (
        f"{path} holds no results of neuroalign, so it is not replaced; give another folder."
    )
    assert [p.name for p in tmp_path.iterdir()] == ["sub-ada_desc-neuroalign.nwb"]


def test_a_failed_write_leaves_nothing_behind(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pynwb

    def broken(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pynwb.NWBHDF5IO, "write", broken)
    with pytest.raises(OSError, match="disk full"):
        study.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- what does not belong together --------------------------------------------------------------


def test_arguments_that_do_not_belong_together_are_refused(study: Study, tmp_path: Path) -> None:
    model, test, imputed = study.model, study.test, study.imputed
    two = build_tree({name: test[name].to_dataset() for name in ("bob", "cleo")})
    moved = map_subjects(imputed, lambda _, data: data.assign_coords(onset=data["onset"] + 1))
    fewer = map_subjects(imputed, lambda _, data: data.isel(unit=slice(3)))
    permuted = study.scores.assign_coords(
        test_trial_label=("test_trial", np.roll(study.scores["test_trial_label"].values, 1))
    )
    half = map_subjects(of_ada(test), lambda _, data: data.isel(trial=slice(0, 4)))
    wrong = map_subjects(model.transform(of_ada(test)), lambda _, data: data.isel(latent=[0]))
    shifted = map_subjects(
        study.recordings, lambda _, data: data.assign_coords(onset=data["onset"] + 1)
    )
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"windows": None}, na.ParameterError, "expected windows, or latents that the model made"),
        ({"written": datetime.datetime(2024, 1, 1)}, na.ParameterError, "must have a time zone"),
        ({"sources": {"adda": "x.nwb"}}, na.ParameterError, "Did you mean 'ada'"),
        ({"sources": {"ada": []}}, na.ParameterError, "gives no file for 'ada'"),
        ({"sources": {"ada": "x.nwb"}}, na.DataError, "there is no file x.nwb"),
        ({"sources": {"ada": study.script}}, na.DataError, "not a readable NWB"),
        ({"imputed": imputed, "windows": two}, na.DataError, "expected the trials of 'ada'"),
        ({"imputed": imputed, "windows": half}, na.DataError, "got 6 others"),
        ({"imputed": moved}, na.DataError, "expected the same 'onset' of the same trials"),
        ({"imputed": fewer}, na.DataError, "expected the units of 'bob' that the model knows"),
        ({"imputed": [imputed, imputed]}, na.DataError, "imputed 'bob' from 'ada' twice"),
        ({"imputed": test}, na.DataError, "expected imputed data"),
        ({"scores": permuted}, na.DataError, "labels 'odor' of subject 'ada' in scores are not"),
        ({"scores": study.scores, "windows": half}, na.DataError, "which is not among the trials"),
        ({"scores": xr.Dataset()}, na.DataError, "made by decode_labels or cross_validate"),
        ({"latents": wrong}, na.DataError, "expected the 3 latents of the model"),
        ({"recordings": shifted}, na.DataError, "on another clock than the trials to write"),
    ]
    for changes, error, message in cases:
        with pytest.raises(error, match=message):
            study.write(tmp_path / "none", **changes)
    assert not (tmp_path / "none").exists()


def test_other_files_are_no_results(study: Study, tmp_path: Path) -> None:
    with pytest.raises(na.DataError) as raised:
        na.read_nwb_results(study.files["ada"])
    assert str(raised.value) == (
        f"expected a file written by write_nwb_results, got another NWB file: {study.files['ada']}."
    )
    with pytest.raises(na.DataError, match="there is no file"):
        na.read_nwb_results(tmp_path / "none.nwb")
    for change, message in [
        ("not json", "are damaged .*; write them anew"),
        ('{"format": "neuroalign results", "format_version": 99}', "was written in format 99"),
    ]:
        path = Path(shutil.copy(study.paths["ada"], tmp_path / "changed.nwb"))
        with h5py.File(path, "a") as file:
            file["scratch/neuroalign_provenance"][()] = change
        with pytest.raises(na.DataError, match=message):
            na.read_nwb_results(path)


def test_rows_that_are_missing_are_noticed(study: Study, tmp_path: Path) -> None:
    path = Path(shutil.copy(study.paths["ada"], tmp_path / "changed.nwb"))
    with h5py.File(path, "a") as file:
        file["processing/neuroalign/latent_rows/trial"][0] = file[
            "processing/neuroalign/latent_rows/trial"
        ][-1]
    with pytest.raises(na.DataError, match="rows do not cover every trial and moment once"):
        na.read_nwb_results(path)


def test_latents_without_a_width_come_back_too(study: Study, tmp_path: Path) -> None:
    model = na.SharedLatentModel(2, sharing="autoencoder", **QUICK).fit(study.train, label="odor")
    path = study.write(tmp_path, model=model)["ada"]
    xr.testing.assert_identical(
        na.read_nwb_results(path).latents, model.transform(study.test)["ada"].to_dataset()
    )


# --- plain arrays -------------------------------------------------------------------------------


def odd_latents() -> xr.Dataset:
    """Values that arithmetic or text would change, names that NWB tables know otherwise."""
    random = np.random.default_rng(3)
    mean = random.integers(0, 2**32, size=(5, 3, 2), dtype=np.uint32).view(np.float32)
    mean[0, 0] = [-0.0, 1e-45]
    mean[0, 1] = [np.inf, np.nan]
    return xr.Dataset(
        {"mean": (("trial", "window", "latent"), mean)},
        coords={
            "trial": np.array([30, 2, 11, 7, 400]),
            "window": [0.0, 0.01, 0.03],
            "latent": np.arange(2),
            "onset": ("trial", np.array([0.1, 0.7, 1.3, 2.9, 1e6])),
            "start": ("trial", np.array([0.0, 0.6, 1.2, 2.8, 1e6 - 1])),
            "stop": ("trial", np.array([0.5, np.nan, 2.0, 2.85, 1e6 + 1])),
            "tags": ("trial", np.array(["å", "", "b|c", "d/e", "f"])),
            "columns": ("trial", np.array([0.5, np.nan, -1.0, 1e300, 0.0])),
            "end": ("trial", np.array([True, False, True, True, False])),
            "block": ("trial", np.array([1, 2, -3, 2**53 + 1, 0])),
        },
        attrs={"stage": "latents", "frame_start": -0.1, "frame_stop": 0.2, "window_length": 0.1},
    )


def test_odd_values_and_names_survive(tmp_path: Path) -> None:
    latents = odd_latents()
    results = SubjectResults(
        subject="rat: 7",
        latents=latents,
        units={"rat: 7": ["rat: 7/a", "rat: 7/b"]},
        in_fit=np.array([True, False, True, False, False]),
        session=default_session("rat: 7"),
        provenance={"model": {"beta": np.float32(0.5), "sizes": (1, 2), "alignment": np.nan}},
    )
    path = write_results(results, tmp_path / "odd.nwb", written=WRITTEN)
    again = na.read_nwb_results(path)
    xr.testing.assert_identical(again.latents, latents)
    np.testing.assert_array_equal(bits(again.latents["mean"]), bits(latents["mean"]))
    assert again.trials["in_fit"].tolist() == [True, False, True, False, False]
    assert again.units == {"rat: 7": ["rat: 7/a", "rat: 7/b"]}
    assert again.provenance["model"] == {"beta": 0.5, "sizes": [1, 2], "alignment": None}
    assert (again.trials["stop_time"] >= again.trials["start_time"]).all()
    assert (again.decoded, again.scores, again.imputed) == (None, None, {})
