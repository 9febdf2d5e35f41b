"""The page on performance shows the recorded results, and what they count is what is computed."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import neuroalign as na
from neuroalign.nn.random import RandomStreams
from neuroalign.restarts import Training

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
MACHINE = {
    "processor": "a processor",
    "cores": 4,
    "threads": 4,
    "torch": "2.9",
    "instructions": "AVX9",
    "busy cores before": 0.1,
}


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let benchmarks be imported, as they import each other."""
    folder = ROOT / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def tables(scripts: Path) -> ModuleType:
    return importlib.reload(importlib.import_module("performance_tables"))


@pytest.fixture
def bench_fit(scripts: Path) -> ModuleType:
    return importlib.import_module("bench_fit")


def write(folder: Path, name: str, result: dict[str, Any]) -> None:
    (folder / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")


def fit_result(**changes: Any) -> dict[str, Any]:
    """Two repeats in which one recipe's numbers are half of the other's."""
    times = {
        "training": (1.0, 1.0),
        "with validation": (1.25, 1.0),
        "as it stands": (1.5, 1.7),
        "products": (0.8, 0.9),
        "optimiser": (0.05, 0.05),
        "training, one thread": (1.6, 1.8),
        "products, one thread": (1.6, 1.8),
        "Lightning, 0 workers": (2.0, 3.0),
        "Lightning, 0 workers, with validation": (2.5, 4.0),
        "Lightning, 2 workers": (12.0, 12.0),
        "Lightning, 2 workers, with validation": (20.0, 20.0),
        "Lightning, 0 workers, fused Adam": (1.5, 1.5),
    }
    rows = [
        {"recipe": recipe, "work": work, "repeat": repeat, "relative": value}
        for recipe in ("paper", "recommended")
        for work, values in times.items()
        for repeat, value in enumerate(values)
    ]
    problem = {
        "parameters": 12_345_678,
        "steps": 20,
        "steps as it stands": 29,
        "rows of a step": 128,
        "held-out rows": 1234,
        "gap of losses": 3e-8,
    }
    return {
        "machine": MACHINE,
        "settings": {"repeats": 2},
        "problems": {"paper": problem, "recommended": problem},
        "missing": {"bfloat16": "the processor has none"},
        "rows": rows,
        **changes,
    }


def test_the_page_shows_the_tables_of_the_recorded_results(tables: ModuleType) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [match[2] for match in tables.BLOCK.finditer(text)] == list(tables.TABLES)
    assert tables.filled(text) == text


def test_recorded_tables_say_the_same_in_both_files(tables: ModuleType) -> None:
    for name in (
        "bench_fit",
        "bench_fit_avx2",
        "bench_sweep",
        "bench_fit_cuda",
        "bench_sweep_cuda",
    ):
        result = tables.recorded(name)
        if result is not None:
            table = pd.read_csv(tables.RESULTS / f"{name}.csv")
            pd.testing.assert_frame_equal(table, pd.DataFrame(result["rows"]))


def test_ratios_are_formed_within_repeats(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    write(tmp_path, "bench_fit", fit_result())
    epoch = "\n".join(tables.epoch())
    assert epoch.startswith(
        "Measured on: a processor with AVX9, 4 cores, 4 threads, PyTorch 2.9; 2 repeats."
    )
    assert "| matrix products alone | 0.85 (0.80–0.90) | 0.85 (0.80–0.90) |" in epoch
    assert "| what is left | 0.10 (0.05–0.15) | 0.10 (0.05–0.15) |" in epoch
    # 1 − 1/1.25 and 1 − 1/1
    assert "| share of validation in an epoch with it | 10 % (0 %–20 %) |" in epoch
    assert "12.35 million weights, 20 steps of 128 rows an epoch, 1,234 rows held out;" in epoch
    assert "as the recipe stands, 29 steps." in epoch
    lightning = "\n".join(tables.lightning())
    # 2.5/1.25 and 4/1, not the ratio of medians
    assert "| 0 workers | 2.50 (2.00–3.00) | 3.00 (2.00–4.00) |" in lightning
    assert "| 2 workers | 12 | 18 (16–20) |" in lightning
    assert "| 0 workers, fused Adam | 1.50 | | 1.50 | |" in lightning
    threads = "\n".join(tables.threads())
    assert "| time on one thread over that on 4 |" in threads
    assert "| matrix products alone | 2.00 | 2.00 |" in threads


def test_products_by_onednn_have_rows_where_training_uses_them(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    result = fit_result(missing={})
    write(tmp_path, "bench_fit", result)
    assert "oneDNN" not in "\n".join(tables.epoch())
    result["rows"] += [
        {"recipe": "paper", "work": work, "repeat": repeat, "relative": value}
        for work, value in (
            ("products, oneDNN", 0.5),
            ("training, plain products", 1.6),
        )
        for repeat in (0, 1)
    ]
    write(tmp_path, "bench_fit", result)
    epoch = "\n".join(tables.epoch())
    assert "| the same products by oneDNN | 0.50 | |" in epoch
    assert "| training without oneDNN | 1.60 | |" in epoch
    # 1 − 0.5 − 0.05, and where there are none by oneDNN, 1 − 0.8 − 0.05 and 1 − 0.9 − 0.05
    assert "| what is left | 0.45 | 0.10 (0.05–0.15) |" in epoch


def test_what_is_missing_is_said(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    owed = ["Not measured yet: `python benchmarks/bench_fit.py`."]
    assert tables.epoch() == tables.lightning() == tables.bfloat16() == tables.threads() == owed
    assert tables.growth() == ["Not measured yet: `python benchmarks/bench_sweep.py`."]
    assert "Not measured yet: `python benchmarks/bench_fit.py --device cuda`." in tables.gpu()
    busy = fit_result(
        machine={**MACHINE, "busy cores before": 3.0}, missing={"lightning": "no such"}
    )
    write(tmp_path, "bench_fit", busy)
    assert tables.lightning() == ["Not measured: no such."]
    assert "**The machine had other work** (3.0 cores)." in tables.epoch()[0]


def test_bfloat16_shows_time_and_accuracy(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    result = fit_result(missing={})
    scores = {"bfloat16": (0.80, 0.84), "float32": (0.81, 0.85)}
    accuracy = []
    for recipe in ("paper", "recommended"):
        work = {"recipe": recipe, "work": "training, bfloat16", "repeat": 0, "relative": 0.5}
        result["rows"].append(work)
        accuracy += [
            {"recipe": recipe, "seed": seed, "precision": precision, "accuracy": value}
            for precision, values in scores.items()
            for seed, value in enumerate(values)
        ]
    write(tmp_path, "bench_fit", {**result, "accuracy": {"epochs": [100, 30], "rows": accuracy}})
    row = "| paper's networks, 100 epochs | | 2.00 | 0.82 (0.80–0.84) | 0.83 (0.81–0.85) |"
    assert row in tables.bfloat16()
    plainly = {"recipe": "paper", "work": "training, plain products", "repeat": 0, "relative": 1.6}
    rows = [*result["rows"], plainly]
    accuracies = {"epochs": [100, 30], "rows": accuracy}
    write(tmp_path, "bench_fit", {**result, "rows": rows, "accuracy": accuracies})
    assert row.replace("| |", "| 3.20 |") in tables.bfloat16()


def test_growth_is_that_of_medians_and_is_drawn(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    rows = [
        {"varied": varied, "size": size, "repeat": repeat, "relative": size / 2 + 0.2 * repeat}
        for varied in tables.PANELS
        for size in (2, 20)
        for repeat in range(3)
    ]
    jobs = [{"varied": "jobs", "size": 4, "repeat": 0, "relative": 0.4}]
    base = {"animals": 5, "units": 60, "trials": 200}
    settings = {"repeats": 3, "base": base}
    write(tmp_path, "bench_sweep", {"machine": MACHINE, "settings": settings, "rows": rows + jobs})
    growth = tables.growth()
    # the spread of the smaller: 1.0 to 1.4 about 1.2
    assert "| units per animal | 2, 20 | 1.20, 10 | 33 % |" in growth
    assert any("5 animals, 60 units per animal, 200 trials per animal" in line for line in growth)
    pd.DataFrame({"replicates": [1, 2, 2, 2], "ratio": [1.0, 0.9, 0.8, 0.7]}).to_csv(
        tmp_path / "bench_replicates.csv"
    )
    many = tables.many()
    assert "| 2 fits side by side (`fit_many`), one thread | 0.80 (0.70–0.90) |" in many
    assert "| `sweep` in 4 processes over one with all threads | 0.40 |" in many
    tables.draw_growth(rows, tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")


def test_a_gpus_results_are_in_seconds_beside_its_floor(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    gpu = {**MACHINE, "gpu": "a GPU", "tf32": True}
    fit = {
        "epochs": 1000,
        "seconds": 20.04,
        "floor_seconds": 4.0,
        "floor_of_products_seconds": 2.0,
        "floor_of_memory_seconds": 4.0,
        "teraflop_per_second": 400.0,
        "terabyte_per_second": 3.0,
    }
    write(tmp_path, "bench_fit_cuda", {**fit_result(), "machine": gpu, "paper_fit": fit})
    rows = [
        {"varied": "replicates", "size": size, "repeat": 0, "relative": value}
        for size, value in ((1, 1.0), (32, 1.5))
    ]
    study = {"fits": 90, "epochs": 1000, "seconds": 600.0}
    result = {
        "machine": gpu,
        "settings": {"repeats": 1},
        "rows": rows,
        "gpu": {"permutations": 100, "model null, seconds": 50.0, "study": study},
    }
    write(tmp_path, "bench_sweep_cuda", result)
    lines = tables.gpu()
    assert lines[0] == "Measured on: a GPU (TF32 on), PyTorch 2.9; 2 repeats."
    assert "| the paper's fit, 1,000 epochs | 20.0 s |" in lines
    assert "| an epoch of 32 replicates over one | 1.50 |" in lines
    assert "| model null, 100 permutations, default settings | 50.0 s |" in lines
    assert "| 90 fits of the paper, 1,000 epochs | 600 s |" in lines


def small_training(bench_fit: ModuleType, recipe: str) -> Training:
    recordings, _ = na.simulate_recordings(
        units={"ada": 5, "bob": 4}, trials=24, mean_rate=8, random_state=0
    )
    windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    own = na.SharedLatentModel.from_recipe(bench_fit.SPEC, recipe, verbose=False, batch_size=16)
    settings = own.get_params(deep=False) | bench_fit.HELD_OUT | bench_fit.PLAIN
    training: Training = bench_fit.prepared(windows, **settings)
    return training


@pytest.mark.parametrize("recipe", ["paper", "recommended"])
def test_counted_products_are_those_of_a_step(bench_fit: ModuleType, recipe: str) -> None:
    training = small_training(bench_fit, recipe)
    steps, rows = bench_fit.steps_of(training)
    assert steps >= 15
    vae, streams = training.build(0), RandomStreams([0])
    index = training.data.training_rows.draw(streams).index[:, :rows]
    inputs, targets = zip(
        *(source.gather(index[..., m]) for m, source in enumerate(training.data.sources)),
        strict=True,
    )
    with FlopCounterMode(display=False) as counted:
        terms = vae(inputs, targets, streams, training=True)
        terms.total(0.3).sum().backward()
    assert bench_fit.flop_of(bench_fit.layers_of(vae), rows) == counted.get_total_flops()


def test_an_epoch_has_as_many_steps_as_are_counted(
    bench_fit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = small_training(bench_fit, "recommended")
    taken = []
    step = torch.optim.Adam.step

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        taken.append(1)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", counted)
    seconds = bench_fit.epochs_of(training, 3, validate=True, replicates=2)
    assert len(seconds) == 2  # the first epoch is left out
    assert len(taken) == 3 * bench_fit.steps_of(training)[0]


def test_times_to_an_accuracy_are_those_of_the_first_budget_that_reaches_it(
    scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = importlib.import_module("accuracy_tables")
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    columns = ["seed", "method", "budget", "seconds", "within", "across"]
    rows = [
        (1, "mm-vamp", 1, 1.0, 0.75, 0.72),
        (1, "mm-vamp", 2, 2.0, 0.88, 0.86),
        (2, "mm-vamp", 1, 1.0, 0.90, 0.69),  # within alone does not count
        (2, "mm-vamp", 2, 3.0, 0.90, 0.87),
        (1, "other", 10, 5.0, 0.71, 0.71),
        (1, "other", 20, 9.0, 0.82, 0.81),
        (2, "other", 10, 6.0, 0.60, 0.30),
        (2, "other", 20, 9.0, 0.75, 0.79),
        (3, "mm-vamp", 2, 2.0, 0.75, 0.72),
        (3, "other", 20, 8.0, 0.82, 0.82),
    ]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "time_to_accuracy.csv", index=False)
    text = tables.accuracy()
    ours = "| mm-vamp | 1.00 | 1.00, not reached in 1 | 1.00, not reached in 1 | 1.00 |"
    assert any(line.startswith(ours) for line in text)
    # 5/1, 9/3 and 8/2; 9/2, not in the second, and in the third alone; 9/2, 9/3 and 8/2 in the end
    theirs = (
        "| other | 4.00 (3.00–5.00) | 4.50, not reached in 1, reached in 1 where mm-vamp did not "
        "| not reached | 4.00 (3.00–4.50) | 0.82 (0.75–0.82) | 0.81 (0.79–0.82) |"
    )
    assert theirs in text
