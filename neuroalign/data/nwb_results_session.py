"""What a results file says of the session: taken from the source file, or neutral defaults."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np

from neuroalign.data.nwb_tables import open_file, scalar_text
from neuroalign.data.nwb_writer import SESSION_START
from neuroalign.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from neuroalign.data.specs import DataSpec

TEXTS: Final = (
    "experiment_description",
    "institution",
    "lab",
    "protocol",
    "session_id",
)
LISTS: Final = ("experimenter", "keywords", "related_publications")
SUBJECT_TEXTS: Final = (
    "age",
    "description",
    "genotype",
    "sex",
    "species",
    "strain",
    "subject_id",
    "weight",
)
TIMES: Final = ("session_start_time", "timestamps_reference_time")
KEYWORDS: Final = ("neuroalign", "shared latent space")


@dataclass(frozen=True)
class SessionMetadata:
    """What a results file says about its session.

    Parameters
    ----------
    file : dict
        Arguments of `pynwb.NWBFile`.
    subject : dict
        Arguments of `pynwb.file.Subject`.
    sources : list of dict
        File names, and what identifies the files.
    """

    file: Mapping[str, Any]
    subject: Mapping[str, Any]
    sources: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


def default_session(
    subject: str, spec: DataSpec | None = None, *, names: Sequence[str] = ()
) -> SessionMetadata:
    """Say what can be said of a session without its file.

    Parameters
    ----------
    subject : str
        The subject's name.
    spec : DataSpec, optional
        Gives descriptions.
    names : sequence of str
        Names of files that are not at hand.

    Returns
    -------
    SessionMetadata
        A session that starts on 2000-01-01 UTC, a subject of unknown sex ("U") and any age
        ("P0D/"), and no species.

    Examples
    --------
    >>> default_session("mitt").subject["sex"]
    'U'
    """
    description = spec.description.strip() if spec is not None else ""
    file: dict[str, Any] = {
        "session_description": description or "Trials that neuroalign analysed.",
        "session_start_time": SESSION_START,
        "keywords": list(KEYWORDS),
    }
    if spec is not None:
        file["session_id"] = spec.name.replace("_", "-").replace("/", "-")
        file["experiment_description"] = " ".join([description, spec.citation.strip()]).strip()
        if "doi.org/" in spec.source:
            file["related_publications"] = [spec.source]
    about = {"subject_id": subject, "description": f"Subject {subject}.", "sex": "U", "age": "P0D/"}
    return SessionMetadata(
        file={key: value for key, value in file.items() if value},
        subject=about,
        sources=[{"file": name} for name in names],
    )


def read_session_metadata(
    subject: str, paths: Sequence[Path], spec: DataSpec | None = None
) -> SessionMetadata:
    """Read what NWB files say of their session and subject.

    Parameters
    ----------
    subject : str
        The subject's name here.
    paths : sequence of Path
        The files of the subject. The first decides; its clock is that of the results.
    spec : DataSpec, optional
        Fills in descriptions that the file lacks.

    Returns
    -------
    SessionMetadata
        Fields of the first file; `sources` identifies all.

    Raises
    ------
    DataError
        If a file cannot be read, or is no NWB file.
    """
    spare = default_session(subject, spec)
    with open_file(paths[0]) as opened:
        found = _file_fields(opened, paths[0])
        about = _subject_fields(opened)
    keywords = dict.fromkeys([*found.get("keywords", ()), *KEYWORDS])
    missing = {key: value for key, value in spare.file.items() if key != "session_id"}
    about = about or dict(spare.subject)
    about.setdefault("subject_id", subject)
    about.setdefault("description", f"Subject {subject}.")
    return SessionMetadata(
        file={**missing, **found, "keywords": list(keywords)},
        subject=about,
        sources=[_identify(path) for path in paths],
    )


def is_nwb_file(path: Path) -> bool:
    """Tell whether a file is an NWB file, whatever it is called."""
    try:
        with open_file(path) as opened:
            return "identifier" in opened and "session_start_time" in opened
    except DataError:
        return False


def _file_fields(opened: h5py.File, path: Path) -> dict[str, Any]:
    if "identifier" not in opened or "session_start_time" not in opened:
        raise DataError(f"{path} is no NWB file: it has no identifier or start of the session.")
    fields: dict[str, Any] = {}
    for name in TIMES:
        if name in opened:
            fields[name] = _moment(scalar_text(opened[name]), name, path)
    description = _text(opened, "session_description")
    if description:
        fields["session_description"] = description
    for name in TEXTS:
        if text := _text(opened, f"general/{name}"):
            fields[name] = text
    for name in LISTS:
        node = opened.get(f"general/{name}")
        if isinstance(node, h5py.Dataset) and (values := _list_of_text(node)):
            fields[name] = values
    return fields


def _subject_fields(opened: h5py.File) -> dict[str, Any]:
    group = opened.get("general/subject")
    if not isinstance(group, h5py.Group):
        return {}
    fields: dict[str, Any] = {}
    for name in SUBJECT_TEXTS:
        if text := _text(group, name):
            fields[name] = text
    if "age" in fields and "reference" in group["age"].attrs:
        reference = group["age"].attrs["reference"]
        fields["age__reference"] = (
            reference.decode("utf-8") if isinstance(reference, bytes) else str(reference)
        )
    if birth := _text(group, "date_of_birth"):
        fields["date_of_birth"] = _moment(birth, "date_of_birth", opened.filename)
    return fields


def _identify(path: Path) -> dict[str, Any]:
    """Return what tells a source file from others, without where it lies."""
    with open_file(path) as opened:
        found: dict[str, Any] = {"file": path.name, "bytes": path.stat().st_size}
        for name in ("identifier", "session_start_time"):
            if text := _text(opened, name):
                found[name] = text
        object_id = opened.attrs.get("object_id")
        if object_id is not None:
            found["object_id"] = (
                object_id.decode("utf-8") if isinstance(object_id, bytes) else str(object_id)
            )
    return found


def _text(group: h5py.Group, name: str) -> str:
    node = group.get(name)
    return scalar_text(node) if isinstance(node, h5py.Dataset) and node.shape == () else ""


def _list_of_text(node: h5py.Dataset) -> list[str]:
    if h5py.check_string_dtype(node.dtype) is None:
        return []
    values = np.atleast_1d(node.asstr()[()])
    return [str(value).strip() for value in values if str(value).strip()]


def _moment(text: str, name: str, path: Path | str) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as problem:
        raise DataError(f"{path} has a {name} that is no date and time: {text!r}.") from problem
    # pynwb would give a time without a zone the zone of the machine that writes
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)
