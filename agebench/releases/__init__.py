"""Releases as their authors publish them, read into one table of records.

`read_release` chooses the layout by the card; each layout has its module.
"""

from __future__ import annotations

from agebench.recipes import Card
from agebench.releases import cacd, fg_net, imdb_wiki, morph, utkface
from agebench.releases.table import SCHEMA, Release, not_found
from agebench.remote import Folder

__all__ = ["SCHEMA", "Release", "read_release"]

LAYOUTS = {
    "imdb-wiki": imdb_wiki.read,
    "fg-net": fg_net.read,
    "morph": morph.read,
    "cacd": cacd.read,
    "utkface": utkface.read,
}


def read_release(card: Card, root: Folder) -> Release:
    """Read the release of `card` in the folder `root` (columns of the records: `SCHEMA`).

    Only labels are read, no picture is opened. Raises ReleaseNotFound where nothing of the layout is there, and
    ReleaseError where it is there but cannot be read.
    """
    if not root.is_dir():
        raise not_found(card, root, "its folder")
    return LAYOUTS[card.layout](card, root)
