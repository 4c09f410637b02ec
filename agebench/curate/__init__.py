"""From a recipe's checks to verdicts; copies, identities, groups and suspect labels from the facts of many records."""

from agebench.curate.checks import compile_recipe, load_recipe, must_judge
from agebench.curate.duplicates import near_duplicates
from agebench.curate.groups import connect_groups
from agebench.curate.identities import age_offsets, find_identities
from agebench.curate.suspicion import label_suspicion

__all__ = [
    "age_offsets",
    "compile_recipe",
    "connect_groups",
    "find_identities",
    "label_suspicion",
    "load_recipe",
    "must_judge",
    "near_duplicates",
]
