"""The same sweep through a Dask cluster: two workers, the same numbers, the same resumption."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
from analysis_examples import LabelModel
from evaluation_examples import BAYES, one_tree

from neuroalign.analysis.sweep import sweep

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two workers that listen on loopback alone, without the dashboard."""
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.slow
def test_two_workers_give_the_table_of_one_process(client: Any, tmp_path: Path) -> None:
    windows = one_tree(per_label=6, strength=0.6)
    asked: dict[str, Any] = {"label": "odor", "classifier": BAYES, "seeds": [3, 4]}
    grid = {"ridge": [1.0, 100.0]}
    alone = sweep(windows, LabelModel(), grid, out=tmp_path / "alone", **asked)
    client.get_task_stream()  # what is recorded begins with the first call
    with joblib.parallel_config(backend="dask"):
        spread = sweep(windows, LabelModel(), grid, out=tmp_path / "spread", n_jobs=-1, **asked)
    pd.testing.assert_frame_equal(
        *(table.drop(columns=["seconds", "seconds_scoring"]) for table in (alone, spread)),
        check_exact=True,
    )
    assert len({done["worker"] for done in client.get_task_stream()}) == 2  # both had fits to do
    # what the cluster has done is on disk: nothing is fitted again, even without the cluster
    again = sweep(windows, LabelModel(), grid, out=tmp_path / "spread", **asked)
    pd.testing.assert_frame_equal(again, spread, check_exact=True)
