"""Running the tutorials, and what each of them claims."""

from __future__ import annotations

import importlib
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = sorted((ROOT / "tutorials").glob("[0-9][0-9]_*.md"))
OURS = re.compile(r"NeuroAlignWarning|AlignmentWarning|CollapseWarning|DataWarning|Traceback")

# what a tutorial claims, checked in its own kernel after its last cell
CHECKS = {
    "01_from_nwb_to_shared_latent": """
accuracy = scores["accuracy"].sel(level="trial")
assert float(accuracy.sel(train_subject="others").min()) > 0.6, accuracy
assert model.alignment_ < 1
bits = imputation["bits_per_spike"].sel(source="ada", target="bob")
assert float(bits.sel(kind="imputed")) > 0.5 * float(bits.sel(kind="ceiling")) > 0, bits
assert (loaded.transform(test)["bob"]["mean"] == test_latents["bob"]["mean"]).all()
""",
    "02_what_a_good_fit_looks_like": """
assert good.alignment_ < 0.8, good.alignment_
assert [w.category for w in complaints] == [na.CollapseWarning], complaints
assert {w.category for w in warned} == {na.AlignmentWarning}, starts
assert starts["within"].min() > 0.5 > starts["across"].mean(), starts
assert (starts["warning"] == "none").any(), starts  # unaligned without a warning
found = accuracy(good, train, test)
assert min(found.values()) > 0.6, found
across, bits = by_beta["across"], by_beta["bits"]
assert across.iloc[0] < across.max() - 0.2, across
assert across.idxmax() > 0.01, across
assert bits.iloc[-1] < 0.5 * bits.iloc[0], bits
assert result.to_frame("fit")["candidates"].tolist() == [3]
""",
    "03_decode_and_believe": """
assert by_window.mean() > 0.9, by_window
assert abs(by_trial.mean() - 0.25) < 0.12, by_trial
assert p_decoder <= 0.01
assert observed["others"] > 0.6, observed
across = np.mean([null["others"] for null in model_null])
within = np.mean([null["within"] for null in model_null])
assert across < 0.45 < within, (across, within)
headline = result.to_frame().query("level == 'trial'").set_index(["model", "scope"])["accuracy"]
assert headline["logit latents", "across"] > 0.6, headline
assert headline["spike counts", "within"] < 0.45, headline
assert ("raw counts", "across") not in headline.index
""",
    "04_impute_one_rat_from_another": """
bits = table.pivot_table(index=["source", "target"], columns="kind", values="bits_per_spike")
assert (bits["imputed"] > 0.6 * bits["ceiling"]).all(), bits
assert (bits["ceiling"] > 0).all(), bits
assert np.median(spread["imputed"] / spread["real"]) < 0.5
assert set(sources["n_sources"]) == {1, 2}
assert same_trial > 0.5, same_trial
assert p_value <= 0.01, p_value
for panel in plt.gcf().axes:
    assert panel.has_data()
""",
    "05_bring_your_own_data": """
assert ada["ada"].sizes["unit"] < 30
for name, rat in both.children.items():
    assert set(rat["odor"].values.tolist()) == set("ABCD"), name
    assert np.isfinite(rat["onset"].values).all(), name
true = simulated["bob"].to_dataset()
kept = both["bob"].to_dataset()
where = np.searchsorted(true["onset"].values, kept["onset"].values - 1e-6)
assert (true["odor"].values[where] == kept["odor"].values).all()
assert true["correct"].values[where].all()
real, before = (
    na.scores_to_frame(s).query("level == 'trial' and kind == 'within'")["accuracy"]
    for s in (scores, early_scores)
)
assert real.min() > 0.5 > before.mean(), (real, before)
assert set(written) == {"ada", "bob"}
""",
    "06_a_new_animal_joins": """
assert all((before[name]["mean"] == after[name]["mean"]).all() for name in OLD)
assert grown.subjects_ == [*OLD, NEW]
across = trial_level[trial_level["kind"] == "across"]["accuracy"]
assert across.iloc[-1] > 0.6, curve
assert across.iloc[-1] > across.iloc[0] - 0.05, curve
assert min(together, raw) > 0.6, (together, raw)
""",
    "07_how_the_method_works": """
for count, value in saturated.items():
    assert abs(value - math.log(count)) < 1e-3, (count, value)
value, pull = divergences(3)
assert (value["pairwise"] >= value["mixture"] - 0.02).all()
assert pull["mixture"][-1] < 1e-3 < 1 < pull["pairwise"][-1]
assert models["MM-VAMP"].alignment_ < 0.7 * models["independent"].alignment_
assert min(rates, key=rates.get) == "mixture of the posteriors", rates
reached = [-m.history_["objective"].iloc[-1] for m in tied]
assert reached == sorted(reached), reached
assert -plain.history_["objective"].iloc[-1] > reached[-1], reached
assert tied[0].alignment_ < tied[-1].alignment_
""",
    "08_polymnist_in_five_minutes": """
assert set(networks) == set(accuracy) == {"independent", "mm-vamp"}
assert 0 < chance < 0.3, chance
assert min(accuracy.values()) > 2 * chance, accuracy
""",
}


def named(path: Path) -> str:
    """Name a test after a file."""
    return path.stem


def check_tutorial(tutorial: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a tutorial and what is claimed of it in a kernel of its own, figures and all."""
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    place = folder / "place"
    place.mkdir()
    copy = Path(shutil.copy(tutorial, place))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the notebook machinery, not of the notebook
        notebook = execute(copy, CHECKS[tutorial.stem])
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(o["text"] for o in outputs if o.get("name") == "stderr")
    assert not OURS.search(printed), printed
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
    assert list(place.iterdir()) == [copy]  # it writes to its temporary folder only


def execute(path: Path, check: str) -> Any:
    """Execute a notebook in its own kernel; the first error ends it."""
    from nbclient import NotebookClient

    jupytext: Any = importlib.import_module("jupytext")  # neither of the two has types
    nbformat: Any = importlib.import_module("nbformat")
    notebook = jupytext.read(path)
    assert sum(cell.cell_type == "code" for cell in notebook.cells) >= 3
    notebook.cells.append(nbformat.v4.new_code_cell(check))
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    return client.execute()
