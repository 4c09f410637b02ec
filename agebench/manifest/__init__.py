"""The manifest of one dataset: the only place that knows its tables."""

from agebench.manifest.fingerprints import label_fingerprint
from agebench.manifest.store import SCHEMA_VERSION, create_or_open, get_meta, must_be_of, open_manifest, peek, set_meta

__all__ = [
    "SCHEMA_VERSION",
    "create_or_open",
    "get_meta",
    "label_fingerprint",
    "must_be_of",
    "open_manifest",
    "peek",
    "set_meta",
]
