from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from neuroalign.data.specs import DataSpec, RangeSpec, load_spec, shipped_specs
from neuroalign.errors import SpecError

if TYPE_CHECKING:
    from pathlib import Path

MINIMAL = {"name": "mine", "trials": {"labels": {"odor": "odor_id"}}, "label": "odor"}


def test_shipped_specs_load_and_survive_json():
    assert set(shipped_specs()) == {
        "allen_visual_coding",
        "odor_sequence",
        "recognition_memory",
        "simulated",
        "steinmetz_visual",
    }
    for name in shipped_specs():
        spec = load_spec(name)
        assert spec.name == name
        assert DataSpec.from_json(spec.to_json()) == spec
        assert "recommended" in spec.recipes


def test_odor_sequence_has_the_published_frames():
    spec = load_spec("odor_sequence")
    starts = {rat: spec.frame.start_of(rat) for rat in spec.frame.start}
    assert starts == {
        "barat": 0.25,
        "buchanan": 0.25,
        "mitt": 0.5,
        "stella": 0.5,
        "superchris": 0.25,
    }
    assert (spec.frame.length, spec.bin_width) == (0.25, 0.01)
    assert (spec.window.length, spec.window.step) == (0.1, 0.01)
    assert spec.recipe("recommended") == {}
    paper = spec.recipe("paper")
    assert (paper["n_latents"], paper["beta"], paper["pairing"]) == (2, 1e-3, "rank")
    assert (paper["encoder_hidden"], paper["decoder_hidden"]) == ("input", "input")
    assert (paper["likelihood"], paper["scaling"], paper["max_epochs"]) == (
        "gaussian",
        "none",
        1000,
    )


def test_simulated_rats_have_the_papers_recipe_of_the_real_ones():
    assert load_spec("simulated").recipe("paper") == load_spec("odor_sequence").recipe("paper")


def test_frame_of_an_unknown_subject_is_an_error_without_default():
    with pytest.raises(SpecError) as raised:
        load_spec("odor_sequence").frame.start_of("rex")
    assert str(raised.value) == (
        "frame.start has no entry for subject 'rex' and no 'default'; it has: 'barat', "
        "'buchanan', 'mitt', 'stella', 'superchris'. Add one of the two."
    )
    assert load_spec("simulated").frame.start_of("rex") == 0.25


def test_steinmetz_frame_spans_50_to_400_ms():
    spec = load_spec("steinmetz_visual")
    assert spec.frame.start_of("Cori") == 0.05
    assert spec.frame.start_of("Cori") + spec.frame.length == pytest.approx(0.4)
    assert spec.units.keep == {"brain_area": ["VISp", "VISl", "VISam", "VISpm", "VISrl", "VISa"]}
    assert spec.recipe()["batch_size"] == 64


def test_every_way_of_naming_a_spec_gives_the_same(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    spec = load_spec(MINIMAL)
    assert load_spec(path) == load_spec(str(path)) == load_spec(spec) == spec


def test_raw_values_become_text_so_that_json_changes_nothing():
    label = {"column": "odor", "values": {1: "A", 2.0: "B", False: "C"}}
    spec = load_spec({"name": "x", "trials": {"labels": {"odor": label}}})
    assert spec.trials.labels["odor"].values == {"1": "A", "2": "B", "false": "C"}
    assert DataSpec.from_json(spec.to_json()) == spec


def test_recipes_are_copied_and_unknown_ones_refused():
    spec = load_spec({**MINIMAL, "recipes": {"paper": {"n_latents": 2}}})
    spec.recipe("paper")["n_latents"] = 9
    assert spec.recipe("paper") == {"n_latents": 2}
    assert spec.recipe() == {}
    with pytest.raises(SpecError) as raised:
        spec.recipe("papr")
    assert str(raised.value) == (
        "spec 'mine' has no recipe 'papr'; it has: 'paper'. Did you mean 'paper'?"
    )


def test_a_misspelt_key_is_named_with_its_close_match_and_the_file(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ntrials:\n  lables: {odor: odor}\n")
    with pytest.raises(SpecError) as raised:
        load_spec(path)
    assert str(raised.value) == (
        f"{path}: unknown key 'lables' in 'trials'. Did you mean 'labels'? "
        "Allowed: table, events, onset, start, stop, labels, keep."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bin_width": -0.01}, "bin_width should be greater than 0, got -0.01."),
        ({"bin_width": float("nan")}, "bin_width should be a finite number, got nan."),
        ({"name": None}, "name should be a valid string, got None."),
        (
            {"label": "odr"},
            "label 'odr' is not among trials.labels: 'odor'. Did you mean 'odor'?",
        ),
        (
            {"bin_width": 0.01, "frame": {"start": 0, "length": 0.255}},
            "frame.length must be a whole number of bins of 0.01 s, got 0.255 s.",
        ),
        (
            {"frame": {"start": 0, "length": 0.2}, "window": {"length": 0.3, "step": 0.1}},
            "window.length (0.3 s) must not exceed frame.length (0.2 s).",
        ),
        (
            {"trials": {"labels": {"onset": "onset"}}},
            "trials: labels may not be called 'onset'; choose another name.",
        ),
        (
            {"trials": {"table": "trials", "events": "odors"}},
            "trials: give either 'table' or 'events', not both.",
        ),
        (
            {"trials": {"keep": {"odor": []}}},
            "trials: keep rule 'odor' allows no value; list at least one.",
        ),
        (
            {"trials": {"keep": {"latency": {"mx": 0.5}}}},
            "unknown key 'mx' in 'trials.keep.latency'. Did you mean 'max'? Allowed: min, max.",
        ),
        (
            {"units": {"keep": {"snr": {}}}},
            "units.keep.snr: a range needs 'min', 'max' or both, such as {max: 0.5}.",
        ),
        (
            {"units": {"keep": {"snr": {"min": 2, "max": 1}}}},
            "units.keep.snr: 'min' (2) must not exceed 'max' (1).",
        ),
        (
            {"units": {"keep": {"snr": {"min": "high"}}}},
            "units.keep.snr.min should be a valid number, got 'high'.",
        ),
        (
            {"trials": {"events": ["a/b", "/a/b/"]}},
            "trials.events: list at least one path, and each only once.",
        ),
        (
            {"trials": {"events": []}},
            "trials.events: list at least one path, and each only once.",
        ),
        (
            {"trials": {"table": " / "}},
            "trials.table: expected the name or path of something in the file, got nothing.",
        ),
        (
            {"trials": {"labels": {"units": {"column": "odor", "colum": "odor"}}}},
            "unknown key 'colum' in 'trials.labels.units'. Did you mean 'column'? Allowed: column, values.",
        ),
        ({"frame": {"start": 0}}, "the key 'frame.length' is missing; add it."),
        (
            {"times": {"spikes": "minutes"}},
            "times.spikes should be 'seconds' or 'milliseconds', got 'minutes'.",
        ),
    ],
)
def test_malformed_specs_say_what_is_wrong(change, message):
    with pytest.raises(SpecError) as raised:
        load_spec({**MINIMAL, **change})
    assert str(raised.value) == f"the given spec: {message}"


def test_three_tenths_are_three_bins_of_a_tenth():
    frame = {"frame": {"start": 0.0, "length": 0.3}, "bin_width": 0.1}
    assert load_spec({**MINIMAL, **frame}).frame.length == 0.3


def test_ranges_lists_and_paths_survive_json() -> None:
    trials = {
        "events": ["/acquisition/a/", "b"],
        "keep": {"latency": {"max": 0.5}, "odor": "A", "block": [1, 2]},
    }
    spec = load_spec({"name": "x", "trials": trials, "units": {"keep": {"snr": {"min": 2}}}})
    assert spec.trials.events == spec.trials.event_paths == ["acquisition/a", "b"]
    assert spec.trials.keep["latency"] == RangeSpec(max=0.5)
    assert spec.trials.keep["odor"] == ["A"]
    assert DataSpec.from_json(spec.to_json()) == spec
    assert json.loads(spec.to_json())["trials"]["keep"]["latency"] == {"max": 0.5}
    # a spec that is built from parts instead of text is the same
    again = load_spec({"name": "x", "trials": spec.trials, "units": spec.units})
    assert again == spec


@pytest.mark.parametrize("table", ["gratings", "intervals/gratings", "/intervals/gratings"])
def test_tables_in_intervals_go_by_their_names(table: str) -> None:
    assert load_spec({"name": "x", "trials": {"table": table}}).trials.table == "gratings"


def test_the_template_is_no_shipped_spec() -> None:
    assert "template" not in shipped_specs()
    with pytest.raises(SpecError, match="spec 'template' does not exist"):
        load_spec("template")


def test_files_that_are_no_specs(tmp_path: Path):
    with pytest.raises(SpecError, match=r"spec 'odor_sequenc' does not exist.*Did you mean"):
        load_spec("odor_sequenc")
    with pytest.raises(SpecError, match="is a folder"):
        load_spec(tmp_path)
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: [unclosed\n")
    with pytest.raises(SpecError, match="is not readable as YAML"):
        load_spec(broken)
    broken.write_text("")
    with pytest.raises(SpecError, match=r"must hold keys and values such as .*, got nothing\."):
        load_spec(broken)
    broken.write_text("- a\n- b\n")
    with pytest.raises(SpecError, match=r"got list\."):
        load_spec(broken)
    with pytest.raises(SpecError, match=r"got int\."):
        load_spec(3)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="the stored spec is not JSON"):
        DataSpec.from_json("{")


def test_a_spec_cannot_be_changed_and_its_json_is_plain():
    spec = load_spec(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        spec.name = "other"  # type: ignore[misc]
    assert json.loads(spec.to_json())["trials"]["labels"]["odor"]["column"] == "odor_id"


def test_yaml_tags_never_run_code(tmp_path: Path):
    path = tmp_path / "evil.yaml"
    path.write_text("name: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(SpecError, match="is not readable as YAML"):
        load_spec(path)


def test_recipes_take_numbers_as_people_write_them():
    spec = load_spec(
        {**MINIMAL, "recipes": {"paper": yaml.safe_load("{beta: 1e-3, sharing: mm-vamp}")}}
    )
    assert spec.recipe("paper") == {"beta": 0.001, "sharing": "mm-vamp"}


def test_a_recording_in_the_place_of_the_spec_is_named(tmp_path: Path) -> None:
    recording = tmp_path / "mitt.nwb"
    recording.write_bytes(b"\x89HDF")
    with pytest.raises(SpecError, match=r"got the recording .*mitt\.nwb; name the spec before"):
        load_spec(recording)
