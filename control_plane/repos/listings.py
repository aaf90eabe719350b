"""A tree as one who opens its files sees it: links are followed, names are text."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from control_plane.repos.trees import Trees
from quality_gates import dependencies
from quality_gates.links import LINK, Links

MAX_TARGET_BYTES = 4096
"""No kernel follows a longer target."""


@dataclass(frozen=True, slots=True)
class Readable:
    """One tree."""

    modes: Mapping[str, str]
    """Path -> git's mode."""
    blobs: Mapping[str, str]
    """Path -> the id of its blob, where it has one that is no link's text."""
    links: Links

    @property
    def files(self) -> frozenset[str]:
        """Every name under which a plain file can be opened."""
        return frozenset(self.blobs) | frozenset(self.links.names)

    def blobs_of(self, wanted: Collection[str]) -> dict[str, str]:
        """Name -> blob: of the wanted names, and of every name that leads to a wanted file."""
        found = {name: self.blobs[name] for name in wanted if name in self.blobs}
        linked = {
            name: self.blobs[path]
            for name, path in self.links.names.items()
            if path in wanted or name in wanted
        }
        return found | linked


async def readable(trees: Trees, repo_id: str, tree: str) -> Readable:
    """The listing of a tree or commit, with the text of its links."""
    listing = {os.fsdecode(path): one for path, one in (await trees.listing(repo_id, tree)).items()}
    linked = {path: one.blob for path, one in listing.items() if one.mode == LINK}
    texts = await trees.blobs(repo_id, list(linked.values()), MAX_TARGET_BYTES) if linked else {}
    modes = {path: one.mode for path, one in listing.items()}
    targets = {path: os.fsdecode(texts[blob]) for path, blob in linked.items() if blob in texts}
    return Readable(
        modes=modes,
        blobs={path: one.blob for path, one in listing.items() if one.mode.startswith("100")},
        links=Links(modes, targets),
    )


async def dependency_files(trees: Trees, repo_id: str, listing: Readable) -> dict[str, bytes]:
    """What `quality_gates.dependencies` reads of a tree, with what those files include."""
    files: dict[str, bytes] = {}
    while names := dependencies.wanted(listing.files, files):
        blobs = {name: listing.blobs_of({name})[name] for name in names}
        contents = await trees.blobs(repo_id, list(blobs.values()), dependencies.MAX_FILE_BYTES)
        files |= {name: contents.get(blob, b"") for name, blob in blobs.items()}
    return files
