"""`neuroalign demo`: five simulated rats through the whole chain."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from neuroalign.cli.console import reports_problems, say
from neuroalign.cli.fit_request import FitRequest
from neuroalign.cli.options import OverwriteOption, SeedOption
from neuroalign.cli.run_folder import RunFolder
from neuroalign.errors import DataError

QUICK_UNITS: Final = {"barat": 24, "mitt": 20, "stella": 16}
QUICK_TRIALS: Final = 60
# few trials make few steps per epoch, so larger ones
QUICK_SETTINGS: Final = {
    "max_epochs": 40,
    "patience": None,
    "batch_size": 64,
    "learning_rate": 0.005,
    "encoder_hidden": [64],
    "decoder_hidden": [64],
}


@reports_problems
def demo_command(
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")] = Path("demo"),
    seed: SeedOption = 0,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Fewer rats, units, trials and epochs, in half a minute."),
    ] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Simulate five rats, write them as NWB files, and fit, decode, impute and plot them."""
    run_demo(out, seed=seed, quick=quick, overwrite=overwrite)


def run_demo(
    out: Path, *, seed: int = 0, quick: bool = False, overwrite: bool = False
) -> RunFolder:
    """Run the whole chain on simulated rats.

    Parameters
    ----------
    out : Path
        Gets `nwb/` with one file per rat, and `run/` with everything else.
    seed : int
        Of the simulation, the split and the fit.
    quick : bool
        A small version, to see that everything works; its numbers mean little.
    overwrite : bool
        Replace an earlier demo.

    Returns
    -------
    RunFolder
        The folder `run/`.

    Raises
    ------
    DataError
        If the folder is taken.
    """
    from neuroalign.cli.decode import run_decode
    from neuroalign.cli.fit import run_fit
    from neuroalign.cli.impute import run_impute

    started = time.monotonic()
    nwb = out / "nwb"
    _check_folder(out, nwb, overwrite)
    _write_recordings(nwb, seed=seed, quick=quick)
    settings: dict[str, Any] = dict(QUICK_SETTINGS) if quick else {}
    request = FitRequest(
        spec="simulated",
        paths=(str(nwb),),
        out=out / "run",
        seed=seed,
        settings=settings,
        overwrite=overwrite,
    )
    run = run_fit(request)
    say("\ndecoding ...")
    run_decode(run, permutations=200 if quick else 1000, seed=seed)
    say("imputing ...")
    run_impute(run, seed=seed)
    say(
        f"\ndone in {time.monotonic() - started:.0f} s; read {run.summary}, which shows tables "
        "and figures."
    )
    return run


def _check_folder(out: Path, nwb: Path, overwrite: bool) -> None:
    """Refuse a folder that is taken by something else than a demo."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir() or not nwb.is_dir():
        raise DataError(f"{out} is there and is no demo; give another --out.")
    if not overwrite:
        raise DataError(f"{out} holds a demo already; give another --out, or --overwrite.")


def _write_recordings(nwb: Path, *, seed: int, quick: bool) -> None:
    from neuroalign.data.nwb_writer import write_nwb
    from neuroalign.data.simulate import simulate_recordings

    sizes: dict[str, Any] = {"units": QUICK_UNITS, "trials": QUICK_TRIALS} if quick else {}
    recordings, _ = simulate_recordings(random_state=seed, **sizes)
    for path in nwb.glob("sub-*.nwb"):  # an earlier demo may have had other rats
        path.unlink()
    write_nwb(recordings, nwb, overwrite=True)
    shown = ", ".join(recordings.children)
    say(f"simulated {shown}; wrote their recordings to {nwb}")
