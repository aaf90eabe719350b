# mypy: ignore-errors
# It runs inside the judged project's interpreter, beside any pytest from the last years: no
# annotations of ours or of pytest.
# ruff: noqa: ANN001, ANN201, ANN202 -- likewise
"""Classes of the judged tree whose objects say that they equal whatever they are compared with.

A test that compares with such an object passes whatever the product does, and a canary cannot see
it. So every comparison that the
tree defines is asked about pairs of values that have nothing in common: one that calls both of them
equal has not looked. It is called with a `self` of ours, so that no object of the tree is made; an
honest comparison then misses an attribute, or declines.
"""

import os
import sys
from types import FunctionType

LIMIT = 100


class _Nothing:
    """Has no attribute that a comparison could look at."""

    __slots__ = ()


class _Other:
    """Another such class."""

    __slots__ = ()


_PAIRS = (
    (_Nothing(), _Other()),
    ("vsc 7d10c2", "vsc e93b5f"),
    (-70261.5, 90173),
    (["vsc 7d10c2"], ["vsc e93b5f"]),
)
# Bound now: what the judged code does to these later does not reach us.
_subclasses, _isinstance, _vars, _name = (
    type.__subclasses__,
    isinstance,
    vars,
    vars(type)["__qualname__"].__get__,
)


def equal_to_everything(workspace):
    """[path in the tree ("": not known), name of the class], for at most `LIMIT` of them."""
    found = []
    for one in _classes():
        compare = _vars(one).get("__eq__")
        if compare is None:
            continue
        path = _written_in(compare, one, workspace)
        if path is not None and _always_true(compare):
            found.append([path, str(_name(one))])
    return sorted(found)[:LIMIT]


def _classes():
    """All that live; told apart by identity, as a class may say that it equals another."""
    seen, waiting = {id(object): object}, [object]
    while waiting:
        for one in _subclasses(waiting.pop()):
            if id(one) not in seen:
                seen[id(one)] = one
                waiting.append(one)
    return list(seen.values())


def _written_in(compare, one, workspace):
    """The file in the tree that the comparison stands in.

    "" for code that was made while running, None for somebody else's.
    """
    here = workspace + os.sep
    name = compare.__code__.co_filename if _isinstance(compare, FunctionType) else None
    if name is not None and name.startswith(here):
        return name[len(here) :]
    module = getattr(sys.modules.get(one.__module__), "__file__", None)
    if _isinstance(module, str) and module.startswith(here):
        return module[len(here) :]
    return (
        "" if name is not None and name.startswith("<") and not name.startswith("<frozen") else None
    )


def _always_true(compare):
    return any(all(_says_true(compare, value) for value in pair) for pair in _PAIRS)


def _says_true(compare, value):
    try:
        return compare(_Nothing(), value) is True
    except BaseException:  # noqa: BLE001 -- the judged code may raise anything, an exit included
        return False
