"""Cards and recipes as typed data: read from TOML and validated, with every mistake reported at once.

A card describes a dataset, a curation recipe a pipeline, a model recipe a network and its training.
"""

from agebench.recipes.cards import FIELD, Card, Columns, Download, Expected, Partition, Protocol, Table, fields_of
from agebench.recipes.curation import Check, CurationRecipe, Observe
from agebench.recipes.estimators import (
    Ensemble,
    EstimatorRecipe,
    FunctionEstimator,
    OnnxEstimator,
    PredictionsEstimator,
    ReadyEstimator,
)
from agebench.recipes.fields import NAME, Named, Strict, known, name_from
from agebench.recipes.mistakes import mistaken, mistakes_of, wrong_changes
from agebench.recipes.models import (
    IMAGENET,
    NAMED_TABLES,
    Augment,
    Border,
    Crop,
    Loss,
    Method,
    MethodRecipe,
    ModelRecipe,
    Network,
    NetworkRecipe,
    TableRow,
    Training,
    weights_path,
)
from agebench.recipes.reading import (
    digest,
    load_card,
    load_curation_recipe,
    load_estimator_recipe,
    load_from_models,
    load_model_recipe,
    load_network_recipe,
    load_study,
    load_table_row,
    model_keys,
    model_recipe_kind,
    read_curation_recipe,
    read_declaration,
    read_model_recipe,
    read_toml,
    toml_value,
)
from agebench.recipes.studies import StudyRecipe

__all__ = [
    "FIELD", "IMAGENET", "NAME", "NAMED_TABLES", "Augment", "Border", "Card", "Check", "Columns", "Crop",
    "CurationRecipe", "Download", "Ensemble", "EstimatorRecipe", "Expected", "FunctionEstimator", "Loss", "Method",
    "MethodRecipe", "ModelRecipe", "Named", "Network", "NetworkRecipe", "Observe", "OnnxEstimator", "Partition",
    "PredictionsEstimator", "Protocol", "ReadyEstimator", "Strict", "StudyRecipe", "Table", "TableRow", "Training",
    "digest", "fields_of", "known", "load_card", "load_curation_recipe", "load_estimator_recipe", "load_from_models",
    "load_model_recipe", "load_network_recipe", "load_study", "load_table_row", "mistaken", "mistakes_of",
    "model_keys", "model_recipe_kind", "name_from", "read_curation_recipe", "read_declaration", "read_model_recipe",
    "read_toml", "toml_value", "weights_path", "wrong_changes",
]  # fmt: skip
