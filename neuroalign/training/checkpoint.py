"""Checkpoints: one safetensors file, written aside and renamed, holding all a fit needs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from neuroalign.errors import ModelFileError

FORMAT_VERSION = 2  # 2: progress knows which replicates still train


@dataclass(frozen=True)
class Checkpoint:
    """What was reached after some epoch.

    Attributes
    ----------
    tensors : mapping str -> Tensor
        Weights, best weights and optimiser state.
    state : mapping
        Everything else, as JSON would hold it.
    """

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that the file is at any time whole: the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".partial")
    tensors = {name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()}
    metadata = {"version": str(FORMAT_VERSION), "state": json.dumps(checkpoint.state)}
    save_file(tensors, aside, metadata=metadata)
    os.replace(aside, path)


def read_checkpoint(path: Path, device: torch.device) -> Checkpoint:
    """Read a checkpoint; nothing in it is executed.

    Raises
    ------
    ModelFileError
        If the file is damaged or of another version.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        version = int(metadata.get("version", -1))
        state = json.loads(metadata.get("state", "null"))
    except (SafetensorError, ValueError, OSError) as problem:
        raise ModelFileError(
            f"{path} is no readable checkpoint ({problem}); delete it to start anew."
        ) from problem
    if version != FORMAT_VERSION or not isinstance(state, dict):
        raise ModelFileError(
            f"expected a checkpoint of version {FORMAT_VERSION}, got {version}, in {path}; "
            "delete it to start anew."
        )
    return Checkpoint(tensors, state)
