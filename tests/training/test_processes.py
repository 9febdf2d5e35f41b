"""Processes that work together end where one would, and say so when they cannot."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import neuroalign as na
from neuroalign.nn.sharing import SHARING_RULES
from neuroalign.training.processes import ALONE, Processes, active_processes, working_alone

SCRIPT = Path(__file__).parent / "two_processes.py"
together = pytest.mark.slow  # two processes load everything and fit for half a minute


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what each of two processes found."""
    folder = tmp_path_factory.mktemp("processes")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [*command, "2", str(SCRIPT), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@together
@pytest.mark.parametrize("sharing", list(SHARING_RULES))
def test_two_processes_train_the_fit_of_one(said: list[dict[str, Any]], sharing: str) -> None:
    for one in said:
        weights, history = one["sharing"][sharing]
        assert weights < 1e-9
        assert history < 1e-7


@together
def test_a_model_fitted_by_two_processes_is_that_of_one_in_both(said: list[dict[str, Any]]) -> None:
    assert max(one["fit"] for one in said) < 1e-8


@together
def test_many_fits_are_shared_out_and_come_back_in_order(said: list[dict[str, Any]]) -> None:
    for one in said:
        assert len(one["fit_many"]) == 3
        assert max(one["fit_many"]) < 1e-8
        assert "beta" in one["error"]  # the one that cannot be fitted is an error in its place


@together
def test_a_sweep_is_shared_out_and_complete_everywhere(said: list[dict[str, Any]]) -> None:
    for one in said:
        betas, errors = one["table"]
        assert betas == [0.1, 1.0]
        assert not any(isinstance(error, str) and error for error in errors)


@together
def test_processes_that_fit_something_else_are_refused(said: list[dict[str, Any]]) -> None:
    for one in said:
        assert one["refused"] == (
            "expected the same fit in all 2 processes, got others: each must call fit with the "
            "same windows, the same settings and the same random_state (a number)."
        )


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with na.distributed() as processes:
        assert processes == ALONE
        assert processes.is_first
        assert processes.agree("this") == "this"
        assert processes.gather(3) == [3]
        assert active_processes() == ALONE


def test_an_incomplete_environment_is_an_error_that_names_torchrun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    said = r"got a problem with 'RANK'; start the script with `torchrun"
    with pytest.raises(na.ParameterError, match=said), na.distributed():
        pass


def test_shares_cover_all_rows_once_and_are_about_equal() -> None:
    for number in (1, 2, 3, 7):
        shares = [Processes(rank, number).share(20) for rank in range(number)]
        assert [row for a, b in shares for row in range(a, b)] == list(range(20))
        assert max(b - a for a, b in shares) - min(b - a for a, b in shares) <= 1


def test_working_alone_keeps_the_gpu_of_this_process() -> None:
    with working_alone():
        assert active_processes() == ALONE
