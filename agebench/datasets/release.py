"""Reading a release with the layout that its card names."""

from __future__ import annotations

from typing import cast

from agebench import registry
from agebench.datasets.records import Release, not_found
from agebench.recipes import Card
from agebench.remote import Folder


def read_release(card: Card, root: Folder) -> Release:
    """Read the release of `card` in the folder `root`; the columns of its records are `datasets.records.SCHEMA`.

    Only labels are read; no picture is opened. Raises ReleaseNotFound if nothing of the layout exists, and ReleaseError
    if it exists but cannot be read.
    """
    if not root.is_dir():
        raise not_found(card, root, "its folder")
    return cast(Release, registry.find("layouts", card.layout)(card, root))
