"""What would a rat's neurons have done in trials in which only other rats were recorded?

Learns one latent space of all rats from training trials, then imputes the target rat's activity
in the held-out trials of every other rat, as if the target had been silent in them:

    python impute_across_rats.py --target stella                    # on five simulated rats
    python impute_across_rats.py data/*.nwb --spec my_spec.yaml --target mitt --out imputed

Into the folder go `scores.csv`, a figure, and one NWB file per rat. Imputed activity is in the
file of the rat whose trials they are, on the clock of its session. The target's own held-out
trials serve for nothing but the scores.
"""

import argparse
from pathlib import Path

import matplotlib as mpl

import neuroalign as na

COLUMNS = ["kind", "source", "target", "bits_per_spike", "low", "high", "coherence_trial", "chance"]


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", help="NWB files; simulated rats without any")
    parser.add_argument("--spec", default="simulated", help="data spec: a YAML file or a name")
    parser.add_argument("--target", help="the rat to impute; by default the one with most units")
    parser.add_argument("--out", type=Path, default=Path("imputed"), help="folder to write")
    parser.add_argument("--epochs", type=int, help="longest training; the recipe's by default")
    parser.add_argument("--seed", type=int, default=0, help="of split and fit")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results")
    return parser.parse_args(words)


def simulated_files(folder: Path, seed: int) -> list[Path]:
    recordings, _ = na.simulate_recordings(random_state=seed)
    return list(na.write_nwb(recordings, folder, overwrite=True).values())


def main(words: list[str] | None = None) -> None:
    arguments = parse_arguments(words)
    if (arguments.out / "nwb").exists() and not arguments.overwrite:
        raise SystemExit(f"{arguments.out} holds results; give another --out, or --overwrite.")
    files = arguments.files or simulated_files(arguments.out / "simulated", arguments.seed)
    recordings = na.read_nwb(files, arguments.spec)
    spec = na.load_spec(arguments.spec)
    windows = na.slide_windows(na.bin_spikes(recordings))
    train, test = na.split_trials(windows, stratify=spec.label, random_state=arguments.seed)

    longest = {} if arguments.epochs is None else {"max_epochs": arguments.epochs}
    model = na.SharedLatentModel.from_recipe(spec, random_state=arguments.seed, **longest)
    model.fit(train, label=spec.label)
    print(model.summary())

    sizes = {name: len(units) for name, units in model.unit_ids_.items()}
    target = arguments.target or max(sizes, key=sizes.get)
    sources = [name for name in model.subjects_ if name != target]
    imputed = {name: model.impute(test, source=name, target=target) for name in sources}

    # between what the label alone would give (floor) and what the true label would (ceiling)
    scores = na.score_imputation(model, train, test, label=spec.label, targets=target)
    table = na.imputation_to_frame(scores)
    print(table[COLUMNS].round(3).to_string(index=False))

    written = na.write_nwb_results(
        arguments.out / "nwb",
        model=model,
        windows=test,
        imputed=list(imputed.values()),
        recordings=recordings,
        script=__file__,
        overwrite=arguments.overwrite,
    )
    table.to_csv(arguments.out / "scores.csv", index=False)
    nearest = max(sources, key=sizes.get)
    axes = na.plot_imputation(test, imputed[nearest], label=spec.label)
    axes[0].figure.suptitle(f"{target}, imputed from trials of {nearest} (dashed), and real", y=1.1)
    axes[0].figure.savefig(arguments.out / "imputed.png", dpi=150, bbox_inches="tight")
    for path in [*written.values(), arguments.out / "scores.csv", arguments.out / "imputed.png"]:
        print(f"wrote {path}")


if __name__ == "__main__":
    mpl.use("Agg")  # figures go into files
    main()
