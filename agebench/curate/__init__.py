"""From a recipe's checks to verdicts, and from shared subjects and copies to groups."""

from agebench.curate.checks import compile_recipe, load_recipe
from agebench.curate.groups import connect_groups

__all__ = ["compile_recipe", "connect_groups", "load_recipe"]
