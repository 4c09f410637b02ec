"""Starting a network from weights that are in a file, as far as their names and shapes fit."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from agebench.errors import Missing, RecipeError
from agebench.files import file_hash
from agebench.recipes import NetworkRecipe
from agebench.training.networks import make_network


@dataclass(frozen=True)
class Loaded:
    """What a network took from a file of weights.

    taken: names of the tensors whose weights are the file's. new: those that keep their random weights, and why.
    unused: names in the file that the network does not have.
    """

    file: Path
    sha256: str
    taken: list[str]
    new: dict[str, str]
    unused: list[str]

    def __str__(self) -> str:
        total = len(self.taken) + len(self.new)
        line = f"{len(self.taken)} of {total} tensors are taken from {self.file.name}"
        if self.new:
            names = [f"{name} ({why})" for name, why in self.new.items()]
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            line += f"; new are {', '.join(names[:4])}{more}"
        return line + "."

    def facts(self) -> dict[str, Any]:
        """For a run's card."""
        return {
            "file": self.file.name,
            "sha256": self.sha256,
            "taken": self.taken,
            "new": self.new,
            "unused": self.unused,
        }


def load_pretrained(network: nn.Module, file: Path) -> Loaded:
    """Put the tensors of a file into `network` where name and shape are equal; the others keep what they have.

    file: safetensors, or a state dict that `torch.save` has written (read as data: no code in it is run).
    Raises Missing where there is no such file, RecipeError where it cannot be read or nothing of it fits.
    """
    found = _read(file)
    here = network.state_dict()
    taken = {name: found[name] for name, value in here.items() if name in found and found[name].shape == value.shape}
    if not any(value.is_floating_point() and value.ndim > 1 for value in taken.values()):
        raise RecipeError(
            f"No weights in {file} fit this network: it has {_some(list(here))}, the file {_some(list(found))}.",
            "Name a file of weights of the same network, with the same settings.",
        )
    network.load_state_dict(taken, strict=False)
    new = {
        name: f"the file has {_shape(found[name])}, the network {_shape(value)}" if name in found else "not in the file"
        for name, value in here.items()
        if name not in taken and not name.endswith("num_batches_tracked")
    }
    return Loaded(file, file_hash(file), list(taken), new, [name for name in found if name not in here])


def pretrained_of(recipe: NetworkRecipe) -> Loaded | None:
    """What a network of the recipe takes from the recipe's file of weights, None without one. Raises as
    `load_pretrained` does."""
    if recipe.network.weights is None:
        return None
    return load_pretrained(make_network(recipe.network), Path(recipe.network.weights))


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise Missing(f"There are no weights in {file}.", "Correct network.weights.")
    try:
        if zipfile.is_zipfile(file):
            found = torch.load(file, map_location="cpu", weights_only=True)
        else:
            from safetensors.torch import load_file

            found = load_file(file)
    except (SafetensorError, RuntimeError, EOFError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise RecipeError(
            f"{file} cannot be read as weights: {str(error).splitlines()[0]}.",
            "Expected safetensors, or a state dict saved by torch.save.",
        ) from error
    found = found.get("state_dict", found) if isinstance(found, dict) else {}
    tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise RecipeError(f"{file} holds no tensors.", "Expected safetensors, or a state dict saved by torch.save.")
    return tensors


def _shape(value: Tensor) -> str:
    return "×".join(map(str, value.shape)) or "a number"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
