"""Sections of the summary about latents, decoding and imputation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuroalign.cli.summary_sections import figure, join, label_words, read_table
from neuroalign.cli.tables import (
    decoding_table,
    imputation_table,
    markdown_table,
    reconstruction_table,
)

if TYPE_CHECKING:
    from neuroalign.cli.run_folder import RunFolder


def latent_space(run: RunFolder) -> str:
    """Show held-out latents in a plane and through time."""
    label = label_words(run)
    extra = sorted(
        path.stem
        for path in run.figure("x").parent.glob("latents_by_*.png")
        if path.stem not in {"latents_by_label", "latents_by_subject"}
    )
    return join(
        [
            "## The shared latent space",
            figure(run, "latents_by_label", f"Windows of held-out trials, coloured by {label}."),
            figure(
                run,
                "latents_by_subject",
                "The same points, coloured by subject: where subjects share the space, their "
                "colours mix.",
            ),
            figure(
                run,
                "trajectories",
                f"Averages of held-out trials by {label} through time; a line style per subject.",
            ),
            *(figure(run, name, name.replace("_", " ")) for name in extra),
        ]
    )


def decoding(run: RunFolder) -> str:
    """Show what was read from held-out trials."""
    if not run.table("scores").exists():
        return ""
    scores = read_table(run, "scores")
    options = run.manifest["decode"]
    return join(
        [
            f"## Decoding {label_words(run)}",
            (
                "Balanced accuracy on held-out trials, with its 95 % interval over trials. *Within*: "
                "a classifier of the subject's own training latents. *Across*: a classifier of all "
                "other subjects' training latents, which never saw this subject. *Raw counts*: "
                "logistic regression on the subject's own scaled spike counts. A trial's probability "
                "is the mean over its windows."
            ),
            "Per trial:\n\n" + markdown_table(decoding_table(scores)),
            "Per window:\n\n" + markdown_table(decoding_table(scores, "window")),
            _about_position(told=options.get("position", False)),
            _about_p(options["permutations"]),
            (
                "The label paired trials in the fit, so reading it across subjects shows that they "
                "were aligned by it; what the latents share beyond it is not shown by this table."
            ),
            figure(
                run,
                "score_matrix",
                "Every classifier (rows) on every subject's held-out trials (columns).",
            ),
        ]
    )


def _about_position(*, told: bool) -> str:
    if not told:
        return ""
    return (
        "Classifiers are told where in the trial each window lies: what a latent or a unit means "
        "may change slowly over the trial. The position alone says nothing of the label."
    )


def _about_p(permutations: int) -> str:
    if permutations == 0:
        return ""
    return (
        f"p-values: labels permuted over whole held-out trials, {permutations} times (smallest "
        f"possible {1 / (1 + permutations):.2g}), corrected over subjects (Benjamini-Hochberg)."
    )


def cross_validation(run: RunFolder) -> str:
    """Show what was read when the model was fitted anew for every fold."""
    if not run.table("scores_folds").exists():
        return ""
    scores = read_table(run, "scores_folds")
    folds = read_table(run, "predictions_folds")["fold"].nunique()
    return join(
        [
            "## Cross-validated decoding",
            (
                f"Model and classifiers fitted anew for each of {folds} folds of all trials, so that "
                "every trial was read once, by a model that had not seen it."
            ),
            "Per trial:\n\n" + markdown_table(decoding_table(scores)),
            "Per window:\n\n" + markdown_table(decoding_table(scores, "window")),
            figure(run, "score_matrix_folds", "Every classifier on every subject, all folds."),
        ]
    )


def imputation(run: RunFolder) -> str:
    """Show what other subjects' units would have done, and how well that is known."""
    if not run.table("imputation").exists():
        return ""
    scores = read_table(run, "imputation")
    parts = [
        "## Imputation",
        (
            "What a subject's units would have done in another subject's held-out trials, scored "
            "against its own held-out trials of the same label. *Bits/spike*: gain over each unit's "
            "mean rate. *Floor*: read the label from the source, return the target's training average "
            "for it. *Ceiling*: the average of the true label. Imputation at the floor passes on the "
            "label and no more. *Above / below floor*: from how many sources imputation lies above or "
            "below it by more than both animals' trials let expect by chance (95 % intervals of the "
            "difference, not corrected for the number of pairs). *Coherence*: how often a classifier of the target's real windows reads "
            "the source's label from the imputed trial; beside it, the same classifier on real trials. "
            "All are estimates from these trials: with few of them a score can pass its ceiling, or "
            "fall below 0, by chance."
        ),
        markdown_table(imputation_table(scores)),
    ]
    if run.table("reconstruction").exists():
        parts.append(
            "Every subject's own held-out trials, reconstructed (the model has seen the counts it "
            "explains here):\n\n"
            + markdown_table(reconstruction_table(read_table(run, "reconstruction")))
        )
    for source, target in run.manifest["impute"]["figures"]:
        caption = (
            f"The units of {target} with most spikes: averages of its real held-out trials (solid, "
            f"with their standard error) and imputed from {source} (dashed), both smoothed by a "
            "Gaussian of 20 ms. Time counts from the start of the analysed frame."
        )
        parts.append(figure(run, f"imputation_{source}_to_{target}", caption))
    return join(parts)
