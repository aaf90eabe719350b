"""What tests ask of a mirror and the product does not."""

from control_plane.repos.mirrors import Mirrors
from control_plane.repos.trees import DIFF


async def patch_between(mirrors: Mirrors, repo_id: str, old: str, new: str) -> bytes:
    """The patch from one tree or commit to another: binary, full object ids, no renames."""
    done = await mirrors.git(repo_id).run(*DIFF, "--binary", "--full-index", "-p", old, new, "--")
    return done.stdout
