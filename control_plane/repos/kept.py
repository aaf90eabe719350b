"""What a mirror keeps of a commit: the commit itself, or no more than its tree.

Where a repository was imported, the mirror has its commits. Another home has what came in the
archive of a snapshot: files without history, under the name of the commit that they are of.
"""

from control_plane.repos.git import Git, RepositoryError


class CommitMissing(RepositoryError):
    """Nothing of the commit is in this home's mirror; the message says who must act."""


def kept_ref(commit: str) -> str:
    """The ref that keeps a commit, or what stands for it, from being pruned."""
    return f"refs/vsc/kept/{commit}"


async def tree_of(git: Git, commit: str) -> str:
    """The tree of a commit. Raises CommitMissing."""
    if git.git_dir.is_dir():
        for name in (commit, kept_ref(commit)):
            asked = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{tree}}")
            found = await git.run(*asked, check=False)
            if found.exit_code == 0:
                return found.stdout.decode().strip()
    raise CommitMissing(
        f"{commit} is not in {git.git_dir.name} of this home; an operator must import its"
        " repository here again"
    )
