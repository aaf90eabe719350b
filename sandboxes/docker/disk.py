"""Everything of a sandbox that lies on the host.

Made before its start, taken after its death, removed at the end.
"""

import hashlib
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sandboxes.docker.records import Place
from sandboxes.docker.workspaces import Disk, Workspaces
from sandboxes.doors import closed
from sandboxes.errors import BlobMissing, ProviderUnavailable, SandboxStartFailed
from sandboxes.inside import DOOR, ENVIRONMENT, INPUTS, OUT
from sandboxes.ports import ApplyDelta, Collect, Depot, Start
from sandboxes.remains import Remains, collect_tree, take_outputs
from sandboxes.spec import Input, SandboxSpec
from sandboxes.tree_cache import ROOT, TreeCache, delta_of

_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Binds:
    """What a container mounts: host directories by their path inside."""

    paths: Mapping[str, Path]
    writable: frozenset[str]


class Disks:
    """Prepares and clears sandboxes' directories. Blocking; the caller holds the sandbox's name."""

    def __init__(
        self,
        depot: Depot,
        collect: Collect,
        apply_delta: ApplyDelta,
        workspaces: Workspaces,
        trees: TreeCache,
        owner: int,
    ) -> None:
        self._depot, self._collect, self._apply = depot, collect, apply_delta
        self._trees = trees
        self._workspaces, self._owner = workspaces, owner

    def prepare(self, place: Place, spec: SandboxSpec) -> Binds:
        """Make all that the sandbox mounts; what a killed process left half made is made anew.

        Raises:
            BlobMissing: the depot lacks an input, the delta, the base or a layer.
            SandboxStartFailed: an archive is malformed, or the delta does not fit the base.
            ProviderUnavailable: the host refuses (a full disk, no loop device).
        """
        try:
            closed(place.root)
            place.write_spec(spec)
            base = self._base(place, spec)
            made = self._workspaces.prepare(place.disk, base, self._owner, spec.limits)
            self._apply_delta(spec, made)
            self._write_inputs(place, spec)
            place.door_for(self._owner).make()
            binds = self._binds(place, spec, made)
            place.mark_prepared()
        except ValueError as error:
            raise SandboxStartFailed(spec.image, str(error)) from error
        except OSError as error:
            raise ProviderUnavailable(f"this host cannot make a sandbox's disk: {error}") from error
        return binds

    def reopen(self, place: Place, spec: SandboxSpec) -> None:
        """Have all mounts in place again, as they were prepared."""
        try:
            self._workspaces.reopen(place.disk, self._base(place, spec))
        except OSError as error:
            raise ProviderUnavailable(
                f"the disk of {place.name} cannot be mounted again: {error}"
            ) from error

    def excess(self, place: Place, spec: SandboxSpec) -> str:
        """Why it must be ended for its disk use, or nothing."""
        used, limit = self._workspaces.used_bytes(place.disk), spec.limits.disk_bytes
        return (
            f"{used} bytes on disk; the limit is {limit}"
            if used is not None and used > limit
            else ""
        )

    def remains(self, place: Place, spec: SandboxSpec) -> Remains:
        """Take the outputs and collect the workspace of a dead sandbox."""
        remains = Remains()
        try:
            base = self._base(place, spec)
            made = self._workspaces.reopen(place.disk, base)
            take_outputs(made.out, spec.outputs, self._depot, remains)
        except OSError as error:  # of the machine: nothing inside can take its own disk away
            raise ProviderUnavailable(
                f"the disk of {place.name} cannot be read any more: {error}"
            ) from error
        if made.tree and base:
            self._collect_tree(place, spec, made.tree, base, remains)
        return remains

    def _collect_tree(
        self, place: Place, spec: SandboxSpec, tree: Path, base: Path, remains: Remains
    ) -> None:
        if spec.workspace is None or spec.workspace.against is None:
            return
        with delta_of(spec.workspace, self._depot) as delta:
            collect_tree(
                self._collect,
                self._depot,
                start=Start(base, delta, spec.workspace.against),
                tree=tree,
                changed=lambda: self._workspaces.changed(place.disk, base),
                into=place.collected,
                max_bytes=spec.limits.disk_bytes,
                remains=remains,
            )

    def release(self, place: Place) -> None:
        """Remove the directory and every mount in it; twice is harmless."""
        self._workspaces.release(place.disk)
        self._trees.give_up(place.name)
        last = (
            "spec.json",
            "container",
        )  # as long as they are there, nobody runs it again under this name
        with suppress(FileNotFoundError, NotADirectoryError):
            for entry in sorted(place.root.iterdir(), key=lambda entry: entry.name in last):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink(missing_ok=True)
            place.root.rmdir()

    def close(self) -> None:
        """Give back what was made ahead."""
        self._workspaces.close()

    def _base(self, place: Place, spec: SandboxSpec) -> Path | None:
        """The unpacked base; made anew if somebody has removed it."""
        if spec.workspace is None:
            return None
        return self._trees.use([spec.workspace.base], self._owner, place.name)

    def _apply_delta(self, spec: SandboxSpec, made: Disk) -> None:
        if spec.workspace is None or made.tree is None:
            return
        with delta_of(spec.workspace, self._depot) as delta:
            if delta is None:
                return
            try:
                self._apply(delta, made.tree, self._owner)
            except ValueError as error:
                raise ValueError(f"the delta does not fit its base: {error}") from error

    def _write_inputs(self, place: Place, spec: SandboxSpec) -> None:
        shutil.rmtree(place.inputs, ignore_errors=True)
        place.inputs.mkdir(mode=0o755)
        for one in spec.inputs:
            file = place.inputs / PurePosixPath(one.path).relative_to(INPUTS)
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            self._write_input(file, one)

    def _write_input(self, file: Path, wanted: Input) -> None:
        digest = hashlib.sha256()
        with self._depot.open(wanted.sha256) as source, file.open("xb") as target:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                target.write(chunk)
        if digest.hexdigest() != wanted.sha256:
            raise BlobMissing(
                f"the depot's bytes for {wanted.path} are not {wanted.sha256}; delete that blob"
            )
        file.chmod(0o444)

    def _binds(self, place: Place, spec: SandboxSpec, made: Disk) -> Binds:
        paths = {OUT: made.out}
        writable = {OUT}
        if spec.workspace and made.tree:
            paths[spec.workspace.path] = made.tree
            writable.add(spec.workspace.path)
        if spec.inputs:
            paths[INPUTS] = place.inputs
        if spec.environment:
            paths[ENVIRONMENT] = self._trees.use(spec.environment, ROOT, place.name)
        if spec.door:
            paths[DOOR] = place.door_for(self._owner).path
        return Binds(paths, frozenset(writable))
