"""report.md of an evaluation: what was asked, what came out, and what each number can tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from neuroalign.cli import evaluation_tables as tables
from neuroalign.cli.evaluation_sections import (
    base_settings,
    bullets,
    files_section,
    label_words,
    provenance,
    the_data,
    warnings_section,
)
from neuroalign.cli.files import write_text
from neuroalign.cli.summary_sections import join
from neuroalign.cli.tables import markdown_table

if TYPE_CHECKING:
    from neuroalign.analysis.evaluation_result import Evaluation
    from neuroalign.cli.evaluation_folder import StudyFolder
    from neuroalign.cli.evaluation_inputs import Study

FILES: Final = {
    "evaluation.nc": "every number below and more; `Evaluation.load` reads it",
    "headline.csv": "accuracy averaged over subjects, with intervals, chance and p-values",
    "decoding.csv": "every classifier on every subject's test trials, with corrected p-values",
    "imputation.csv": "imputation of every pair, beside floor and ceiling",
    "reconstruction.csv": "every subject's own test trials, reconstructed",
    "left_out.csv": "labels that were left out of the pairing",
    "transfer.csv": "variables that trials were not paired by",
    "fit.csv": "chosen settings, alignment and seconds of every fold",
    "quality.csv": "units, rates and trials of every subject",
    "quality_dropped.csv": "what was dropped, and why",
    "spec.yaml": "the data spec that was used",
    "request.json": "what was asked for, settings of the models, versions, warnings",
    "figures/": "the figures, as PNG",
}


def write_report(
    folder: StudyFolder, evaluation: Evaluation, study: Study, manifest: Mapping[str, Any]
) -> Path:
    """Write the report of an evaluation beside its tables and figures.

    Parameters
    ----------
    folder : StudyFolder
        With tables and figures written.
    evaluation : Evaluation
        All scores.
    study : Study
        What was read.
    manifest : dict
        What was asked for.

    Returns
    -------
    Path
        The file.
    """
    sections = [
        _heading(evaluation, study),
        the_data(study),
        _asked(evaluation, manifest),
        _headline(folder, evaluation, study),
        _nulls(folder, evaluation, study),
        _per_subject(evaluation),
        _imputation(folder, evaluation, manifest),
        _left_out(evaluation, study),
        _transfer(evaluation, study),
        _fits(evaluation),
        warnings_section(manifest["warnings"]),
        files_section(folder, FILES),
        provenance(manifest),
    ]
    return write_text(folder.report, "\n\n".join(part for part in sections if part) + "\n")


def _heading(evaluation: Evaluation, study: Study) -> str:
    label = label_words(study.label)
    frame = evaluation.to_frame("headline")
    trials = frame[frame["level"] == "trial"]
    said = []
    for model in evaluation.models:
        part = trials[trials["model"] == model].set_index("scope")["accuracy"]
        shown = [f"{part[scope]:.2f} {scope}" for scope in tables.SCOPES if scope in part.index]
        said.append(f"{model} {' and '.join(shown)}")
    count = len(study.windows.children)
    return join(
        [
            f"# {study.spec.name}: {label}, evaluated on held-out trials of {count} subjects",
            (
                f"Balanced accuracy per trial, averaged over subjects (chance "
                f"{trials['chance'].mean():.2f}): {'; '.join(said)}."
            ),
        ]
    )


def _asked(evaluation: Evaluation, manifest: Mapping[str, Any]) -> str:
    about, request = evaluation.dataset.attrs, manifest["request"]
    models = [name for name in evaluation.models if name in manifest["models"]]
    baselines = [name for name in evaluation.models if name not in manifest["models"]]
    lines = [f"Models: {', '.join(models)}; {base_settings(manifest)}."]
    if request["tune"]:
        lines.append(
            f"Chosen for each model inside the training trials of each fold: "
            f"{tables.grid_text(request['tune'])}. "
            "What is not named comes from the recipe."
        )
    else:
        lines.append(
            "Nothing was chosen for the models here. If the recipe was found on these same "
            "recordings, their scores are too high by what that search gained."
        )
    if baselines:
        chosen = (
            "chosen from the grids they come with, inside the training trials of each fold"
            if request["tune_baselines"]
            else "as they come, nothing chosen; a tuned one may do better (`--tune-baselines`)"
        )
        lines.append(f"Baselines: {', '.join(baselines)}; settings {chosen}.")
    lines.append(_protocol(evaluation, manifest))
    nulls = f"Decoder null: {_count(about['permutations'])}. "
    nulls += f"Model null: {_count(about['model_permutations'])}."
    lines += [
        nulls,
        (
            f"Intervals: 95 %, {about['bootstraps']} resamples of test trials; subjects are held "
            "fixed, so they say how sure these subjects' scores are, not what other subjects "
            "would do."
        ),
        f"Seed {manifest['seed']} for splits, fits, permutations and resamples.",
    ]
    return "## What was asked\n\n" + bullets(lines)


def _count(permutations: int) -> str:
    return f"{permutations} permutations" if permutations else "not asked for"


def _protocol(evaluation: Evaluation, manifest: Mapping[str, Any]) -> str:
    cv = manifest["request"]["cv"]
    how = (
        f"{cv} folds: every trial was tested once, by a model that had not seen it"
        if isinstance(cv, int)
        else f"one split, {100 * cv:g} % of the trials for testing"
    )
    together = ", the same trials for all subjects" if manifest["simultaneous"] else ""
    return (
        f"{how}; whole trials, evenly by {evaluation.dataset.attrs['label']}{together}. In every "
        "fold, settings are chosen, models and classifiers fitted on training trials alone."
    )


def _headline(folder: StudyFolder, evaluation: Evaluation, study: Study) -> str:
    label = label_words(study.label)
    return join(
        [
            f"## Decoding {label}",
            (
                "Balanced accuracy on test trials, averaged over subjects. *Within*: a classifier "
                "of the subject's own training trials. *Across*: a classifier of all other "
                "subjects' training trials, which never saw this subject; methods whose outputs "
                "are not shared between subjects have none. A trial's probability is the mean "
                "over its windows."
            ),
            markdown_table(tables.headline_table(evaluation)),
            _without_scores(evaluation),
            folder.embed(
                "evaluation",
                "Every method within and across subjects, per trial and per window; large points "
                "are averages with intervals, small ones single subjects.",
            ),
            _caveat(evaluation, label),
        ]
    )


def _without_scores(evaluation: Evaluation) -> str:
    """Name the methods that were asked for and have no scores."""
    failed = evaluation.left_out_methods
    if not failed:
        return ""
    lines = [f"{name}: {reason}" for name, reason in failed.items()]
    return "**Left out, since they could not be fitted or read:**\n\n" + bullets(lines)


def _caveat(evaluation: Evaluation, label: str) -> str:
    logit = evaluation.to_frame("headline").query(
        "model == 'logit latents' and scope == 'across' and level == 'trial'"
    )["accuracy"]
    here = f", {logit.item():.2f} here" if len(logit) else ""
    return (
        f"**What accuracy across subjects cannot show.** Trials were paired by {label}, and pairing "
        f"by {label} gives {label} away: across decoding of the paired label is also reached by "
        f'"logit latents"{here}, the log-odds of each subject\'s own classifier, which align '
        "nothing else. What a shared space adds is shown by imputation above both floor and mean "
        "rate, by labels left out of the pairing, and by variables that no trial was paired by."
    )


def _nulls(folder: StudyFolder, evaluation: Evaluation, study: Study) -> str:
    about, label = evaluation.dataset.attrs, label_words(study.label)
    lines = []
    if about["permutations"]:
        lines.append(_decoder_null(about, label))
    if about["model_permutations"]:
        lines.append(_model_null(about, label) + _failed_permutations(evaluation))
    if not lines:
        return ""
    missing = (
        ""
        if about["model_permutations"]
        else (
            "The model null was not asked for (`--model-permutations`), so nothing here rules out "
            "that accuracy across subjects would also come out with wrongly paired trials."
        )
    )
    figure = folder.embed(
        "model_null",
        "Accuracy per trial when labels were permuted before the fit (grey), with true labels "
        "(line), and chance (dashed).",
    )
    return join(["### What each null rules out", bullets(lines), missing, figure])


def _decoder_null(about: Mapping[str, Any], label: str) -> str:
    approximate = (
        " With folds it is approximate, since folds train on one another's test trials, and p "
        "comes out somewhat too small: of noise, 5 to 12 % had p ≤ 0.05."
        if about["folds"] > 1
        else ""
    )
    return (
        f"*Decoder null* ({about['permutations']} permutations, smallest possible p "
        f"{_least(about['permutations'])}): labels are permuted over the test trials of each "
        "subject and fold, models and classifiers stay as they are. A small p rules out that what "
        f"was read from these latents agrees with {label} by chance. It does not rule out that "
        "latents of different subjects agree by accident: even subjects fitted apart can pass it. "
        f"Only a model null whose classifiers see the true labels takes that in.{approximate}"
    )


def _model_null(about: Mapping[str, Any], label: str) -> str:
    begin = (
        f"*Model null* ({about['model_permutations']} permutations, smallest possible p "
        f"{_least(about['model_permutations'])}): {label} is permuted over the trials of each "
        "subject, among those tested in the same fold, before settings are chosen, trials paired "
        "and models fitted; "
    )
    if about["model_null"] == "fit":
        return begin + (
            "classifiers see the true labels. A small p across subjects rules out that so much can "
            "be read without trials paired by the true label: by accident, or from what subjects "
            "share anyway, such as a total rate that depends on the label. The mean of the null "
            "says how much can be. Within subjects the null may lie as high as the accuracy: a "
            f"subject's own activity says {label} whatever it was paired with, so a large p there "
            "is no failure."
        )
    return begin + (
        "classifiers and scores see the permuted labels too. A small p, within or across, rules "
        f"out that the whole procedure finds so much where {label} has nothing to do with the "
        "activity, with leaks from training to test trials and the choice of settings included. "
        "It does not tell pairing from accident or from what subjects share anyway; for that, let classifiers see "
        "the true labels (`--model-null fit`)."
    )


def _failed_permutations(evaluation: Evaluation) -> str:
    if "model_null_failed" not in evaluation.dataset:
        return ""
    failed = evaluation.dataset["model_null_failed"].to_series()
    said = [f"{int(number)} of {name}" for name, number in failed.items() if number > 0]
    if not said:
        return ""
    return (
        f" Permutations that could not be fitted: {', '.join(said)}. They count as reaching the "
        "accuracy, so that p is too large rather than too small."
    )


def _least(permutations: int) -> str:
    return f"{1 / (1 + permutations):.2g}"


def _per_subject(evaluation: Evaluation) -> str:
    corrected = (
        "p-values are of the decoder null, corrected over subjects (Benjamini-Hochberg), apart for "
        "within and across and for each method; not over methods."
        if evaluation.dataset.attrs["permutations"]
        else ""
    )
    return join(
        [
            "### Each subject",
            markdown_table(tables.subjects_table(evaluation)),
            (
                "Per trial, with intervals over trials; one without width comes from a classifier "
                "that read all trials of each label alike, all right or all wrong. " + corrected
            ).strip(),
        ]
    )


def _imputation(folder: StudyFolder, evaluation: Evaluation, manifest: Mapping[str, Any]) -> str:
    parts = []
    if "imputation" in evaluation.parts:
        judged = (
            "the target's trial of the same id"
            if manifest["simultaneous"]
            else "all of the target's test trials of the same label"
        )
        parts += [
            "## Imputation",
            (
                "What a subject's units would have done in another subject's test trials, scored "
                f"against {judged} and averaged over sources. *Bits/spike*: gain over each unit's "
                "mean rate. *Floor*: read the label from the source, return the target's training "
                "average for it; imputation at the floor passes on the label and no more. "
                "*Ceiling*: the average of the true label. *Above floor*: imputed minus floor, and "
                "for how many pairs the intervals (over trials, not corrected for the number of "
                "pairs) of both that and the imputed bits lie above 0. Where the floor lies below "
                "0, its averages of few training trials are worse than the mean rate, and to lie "
                "above the floor is no achievement unless the imputed bits are positive too. Each "
                "method reads the label for its floor itself: compare methods by imputed bits, not "
                "by gains over floors that differ. "
                "*Coherence*: how often a classifier of the target's real "
                "windows reads the source's label from the imputed trial; beside it, the same "
                "classifier on real trials."
            ),
            markdown_table(tables.imputed_table(evaluation)),
            folder.embed(
                "imputation",
                "Imputed bits per spike beside floor and ceiling; large points are means over "
                "pairs of subjects, small ones single pairs.",
            ),
        ]
    if "reconstruction" in evaluation.parts:
        parts += [
            "### Own trials, reconstructed",
            "The model has seen the counts it explains here, so this is no prediction.",
            markdown_table(tables.reconstructed_table(evaluation)),
        ]
    return join(parts)


def _left_out(evaluation: Evaluation, study: Study) -> str:
    if "left out" not in evaluation.parts:
        return ""
    label = label_words(study.label)
    return join(
        [
            "## Labels left out of the pairing",
            (
                f"In additional fits, one value of {label} at a time met no other subject; its test "
                "trials were then read with classifiers that know every label. The share of its "
                "trials that were read as it, mean over subjects, with the least and the greatest: "
                "across, whether trials that were never paired land where other subjects' trials "
                "of that label do. False alarms are the share of the other labels' test trials that "
                "were read as it: only where the first clearly exceeds the second is the label told "
                "from the others. Settings are those chosen with all labels paired."
            ),
            markdown_table(tables.left_out_table(evaluation)),
        ]
    )


def _transfer(evaluation: Evaluation, study: Study) -> str:
    if "transfer" not in evaluation.parts:
        return ""
    return join(
        [
            "## Variables that trials were not paired by",
            (
                "Correlation of a number of every test trial with what latents say of it, after "
                f"averages of {label_words(study.label)} were taken from both, so that nothing the "
                "label says can be read. p-values: the variable permuted over test trials of one "
                "label, one-sided, not corrected for subjects and methods."
            ),
            markdown_table(tables.transfer_table(evaluation)),
        ]
    )


def _fits(evaluation: Evaluation) -> str:
    table = tables.fit_table(evaluation)
    searched = tables.tuning_table(evaluation)
    parts = [
        "## Chosen settings and fits",
        markdown_table(table),
        (
            "*Alignment*: distance between subjects for the same label, over distance between "
            "labels within a subject, on validation trials of the fit; mean over folds, with the "
            "least and the greatest. Near 0 the subjects met, near 1 they did not."
        ),
    ]
    frame = evaluation.to_frame("fit")
    apart = frame[frame["alignment"] >= 1].groupby("model", sort=False).size()
    parts += [
        f"**In {count} of {(frame['model'] == model).sum()} folds of {model} the subjects did not "
        "meet in the latent space.**"
        for model, count in apart.items()
    ]
    if len(searched):
        parts += [
            (
                "All candidates of the searches: balanced accuracy per window on validation trials "
                "inside the training trials, mean of within and across, over folds."
            ),
            markdown_table(searched),
        ]
    return join(parts)
