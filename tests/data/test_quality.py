from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from neuroalign.data.binning import bin_spikes
from neuroalign.data.notes import add_note
from neuroalign.data.quality import quality_report
from neuroalign.data.simulate import simulate_recordings
from neuroalign.data.splits import keep_spec_trials
from neuroalign.data.windows import slide_windows
from neuroalign.errors import DataError
from neuroalign.schema import build_tree


def recording(name="mitt", labels="AAB", trains=((0.0, 5.0, 10.0), (), (1.0,))):
    labels = np.array(list(labels))
    onset = np.arange(labels.size) * 3.0 + 1.0
    numbers = np.arange(len(trains), dtype=np.int32)
    return xr.Dataset(
        {
            "spike_time": ("spike", np.concatenate([np.array(t, float) for t in trains])),
            "spike_unit": ("spike", np.repeat(numbers, [len(t) for t in trains])),
        },
        coords={
            "unit": [f"{name}/{n}" for n in numbers],
            "unit_number": ("unit", numbers),
            "trial": np.arange(labels.size),
            "onset": ("trial", onset),
            "start": ("trial", onset),
            "stop": ("trial", onset + 0.5),
            "odor": ("trial", labels),
        },
        attrs={"stage": "recording", "subject": name},
    )


def test_recordings_are_counted_by_hand():
    noted = add_note(recording(), what="trials", count=2, why="no onset time")
    tree = build_tree({"mitt": noted, "stella": recording("stella", "BBBC")})
    report = quality_report(tree, label="odor")
    row = report.subjects.loc["mitt"]
    assert (row["units"], row["silent_units"], row["spikes"], row["trials"]) == (3, 1, 4, 3)
    assert row["seconds"] == 10.0
    assert [row[f"rate_{what}_hz"] for what in ("min", "median", "max")] == [0.0, 0.1, 0.3]
    assert row["rate_mean_hz"] == pytest.approx(0.4 / 3)
    assert report.trials_per_label.loc["mitt"].to_dict() == {"A": 2, "B": 1, "C": 0}
    assert report.trials_per_label.loc["stella"].to_dict() == {"A": 0, "B": 3, "C": 1}
    assert report.units.query("subject == 'mitt'")["rate_hz"].tolist() == [0.3, 0.0, 0.1]
    assert report.dropped.to_dict("records") == [
        {"subject": "mitt", "what": "trials", "count": 2, "why": "no onset time"}
    ]
    assert "mitt: 1 of 3 units never fire." in report.remarks
    assert "stella: no trials with odor A." in report.remarks
    assert "mitt: only 1 trials with odor B." in report.remarks


def test_a_report_reads_as_text_and_as_one_table():
    report = quality_report(build_tree({"mitt": recording()}), label="odor")
    text = str(report)
    for part in ("Subjects", "Trials per odor", "mitt", "Worth a look", "never fire"):
        assert part in text
    assert "Dropped" not in text
    frame = report.to_frame()
    assert frame.loc["mitt", "trials odor=A"] == 2
    assert frame.loc["mitt", "units"] == 3


def test_binned_rates_are_those_within_the_frames():
    tree = build_tree({"mitt": recording(trains=([1.0, 1.1, 4.05, 9.0], [2.0], []))})
    binned = bin_spikes(tree, frame_start=0.0, frame_length=0.2, bin_width=0.1)
    for stage in (binned, slide_windows(binned, length=0.1, step=0.1)):
        report = quality_report(stage, label="odor")
        row = report.subjects.loc["mitt"]
        assert (row["spikes"], row["silent_units"]) == (3, 2)
        assert row["seconds"] == pytest.approx(0.6)
        assert report.units["rate_hz"].tolist() == pytest.approx([5.0, 0.0, 0.0])


def test_the_label_comes_from_the_spec_and_notes_travel():
    recordings, _ = simulate_recordings(units={"mitt": 3}, trials=30, random_state=0)
    report = quality_report(bin_spikes(keep_spec_trials(recordings)))
    assert report.label == "odor"
    assert list(report.trials_per_label.columns) == list("ABCD")
    assert report.trials_per_label.loc["mitt"].sum() == 30
    assert report.dropped["count"].sum() == recordings["mitt"].sizes["trial"] - 30
    assert set(report.dropped["what"]) == {"trials"}


def test_without_a_label_all_trials_are_counted():
    report = quality_report(build_tree({"mitt": recording()}))
    assert report.label == ""
    assert report.trials_per_label.loc["mitt"].to_dict() == {"all": 3}
    assert "Trials\n" in str(report)
    combined = quality_report(build_tree({"mitt": recording()}), label=["odor", "odor"])
    assert combined.trials_per_label.loc["mitt"].to_dict() == {"A|A": 2, "B|B": 1}


def test_subjects_without_time_or_units_have_no_rates():
    empty = recording(trains=((), ())).isel(trial=slice(0, 0))
    report = quality_report(build_tree({"mitt": empty}))
    assert report.subjects.loc["mitt", "seconds"] == 0
    assert np.isnan(report.subjects.loc["mitt", "rate_mean_hz"])
    none = recording().isel(unit=slice(0, 0))
    assert np.isnan(quality_report(build_tree({"mitt": none})).subjects.loc["mitt", "rate_min_hz"])


def test_reports_need_counts_or_spikes():
    with pytest.raises(DataError, match="no trial label 'smell' for subject 'mitt'"):
        quality_report(build_tree({"mitt": recording()}), label="smell")
    latents = build_tree({"mitt": recording().assign_attrs(stage="latents")})
    with pytest.raises(DataError, match="got latents; report on the recordings"):
        quality_report(latents)
    with pytest.raises(DataError, match=r"tree must be an xarray\.DataTree"):
        quality_report("mitt.nwb")


def test_few_trials_and_a_lone_subject_are_remarked_on():
    lone = quality_report(build_tree({"mitt": recording(labels="AABB" * 3)}), label="odor")
    assert lone.remarks[-2].startswith("With fewer than 10 trials of a label, scores and intervals")
    assert lone.remarks[-1].startswith("There is one subject: its latents are shared with nobody")
    many = {name: recording(name, labels="AB" * 10) for name in ("mitt", "stella")}
    remarks = quality_report(build_tree(many), label="odor").remarks
    assert not [text for text in remarks if "With fewer" in text or "one subject" in text]
