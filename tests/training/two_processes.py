"""Run by two processes: what they fit together, and what one of them fits alone.

torchrun --nproc-per-node 2 two_processes.py FOLDER
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from fit_examples import changed, problem, weights

import neuroalign as na
from neuroalign.nn.sharing import SHARING_RULES
from neuroalign.training.keeping import FitProgress
from neuroalign.training.loop import train
from neuroalign.training.pairing import ResampledRows
from neuroalign.training.processes import ALONE, Processes

CONFIG = changed(max_epochs=3, batch_size=9, weight_averaging=0.9, patience=3)


def trained(sharing: str, processes: Processes) -> tuple[torch.Tensor, FitProgress]:
    """Train two replicates of a problem with dropout, mixing and a missing label."""
    vae, data, streams = problem([3, 8])
    vae.sharing = sharing
    rows = data.training_rows
    assert isinstance(rows, ResampledRows)
    ada, bob = rows.members
    members = [ada, [bob[0], torch.empty(0, dtype=torch.int64)]]
    data.training_rows = ResampledRows(members, rows.n_windows, donors=True)
    progress = train(
        vae,
        data,
        changed(**{**vars(CONFIG), "mixing": 0.3}),
        objective=weights(0.1, 0.7, mixture_share=0.5, standard_weight=0.2),
        streams=streams,
        processes=processes,
    )
    return torch.cat([p.detach().flatten() for p in vae.parameters()]), progress


def compare_ways_of_sharing(processes: Processes) -> dict[str, list[float]]:
    """Return how far two processes end from one: largest difference of weights, of history."""
    found = {}
    for sharing in SHARING_RULES:
        together, history = trained(sharing, processes)
        alone, expected = trained(sharing, ALONE)
        rows = zip(
            [row for rows in history.history for row in rows],
            [row for rows in expected.history for row in rows],
            strict=True,
        )
        numbers = [abs(a[k] - b[k]) / (abs(b[k]) + 1e-12) for a, b in rows for k in b]
        found[sharing] = [float((together - alone).abs().max()), max(numbers)]
    return found


def small_windows() -> Any:
    recordings, _ = na.simulate_recordings(
        units={"ada": 8, "bob": 6}, trials=40, mean_rate=9, random_state=0
    )
    return na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)


def model(**settings: Any) -> Any:
    given = {"max_epochs": 2, "random_state": 0, "verbose": False, "precision": "float64"}
    return na.SharedLatentModel(2, **{**given, **settings})


def latents_of(fitted: Any, windows: Any) -> torch.Tensor:
    return torch.from_numpy(fitted.transform(windows)["bob"]["mean"].values)


def main(folder: Path) -> None:
    windows, said = small_windows(), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        with na.distributed(timeout=120) as processes:
            said["sharing"] = compare_ways_of_sharing(processes)
            one = model().fit(windows, label="odor")
            models = [model(random_state=seed) for seed in range(3)]
            several = na.fit_many([*models, model(beta=-1.0)], windows, label="odor")
            table = na.sweep(
                windows,
                model(),
                {"beta": [0.1, 1.0]},
                label="odor",
                out=folder / "sweep",
                seeds=[0],
                imputation=False,
            )
            try:
                model(random_state=processes.rank).fit(windows, label="odor")
            except na.ParameterError as problem:
                said["refused"] = str(problem)
        alone = [model(random_state=seed).fit(windows, label="odor") for seed in range(3)]
        apart = latents_of(one, windows) - latents_of(alone[0], windows)
        said["fit"] = float(apart.abs().max())
        said["fit_many"] = [
            float((latents_of(a, windows) - latents_of(b, windows)).abs().max())
            for a, b in zip(several, alone, strict=False)
        ]
        said["error"] = str(several[3])
        said["table"] = [table["beta"].tolist(), table["error"].tolist()]
    (folder / f"{processes.rank}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
