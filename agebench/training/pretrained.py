"""Starting a network from weights that are in a file, as far as their names and shapes fit.

A network that has ImageNet weights names their file by a method `imagenet_weights() -> Path`."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from agebench.errors import Missing, RecipeError
from agebench.files import file_hash
from agebench.recipes import IMAGENET, Network, NetworkRecipe
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


def start_from_weights(network: nn.Module, table: Network) -> Loaded | None:
    """Put the weights that a recipe's table names into `network`, made by the same table; None if it names none.

    Raises as `load_pretrained` does, RecipeError where the network has no ImageNet weights, and Missing where they are
    not installed.
    """
    if table.weights is None:
        return None
    if table.weights != IMAGENET:
        return load_pretrained(network, Path(table.weights))
    file_of = getattr(network, "imagenet_weights", None)
    if file_of is None:
        raise RecipeError(
            f"The network '{table.name}' comes without ImageNet weights.",
            "Name a file of weights, or leave the key out.",
        )
    return load_pretrained(network, file_of())


def pretrained_of(recipe: NetworkRecipe) -> Loaded | None:
    """What a network of the recipe takes from the weights that the recipe names. See `start_from_weights`."""
    return start_from_weights(make_network(recipe.network), recipe.network) if recipe.network.weights else None


def _read(file: Path) -> dict[str, Tensor]:
    found: Any
    if not file.is_file():
        raise Missing(f"There are no weights in {file}.", "Correct network.weights.")
    try:
        with file.open("rb") as opened:
            head = opened.read(9)
        if head[8:] == b"{":  # safetensors: the length of a JSON header, then the header
            from safetensors.torch import load_file

            found = load_file(file)
        else:  # weights_only: also in its older format, a state dict is data and must not run code
            with warnings.catch_warnings(action="ignore"):
                found = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise RecipeError(
            f"{file} cannot be read as weights.",
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
