"""Comparisons that are always true, found by asking them.

Here in a process of their own, as the judge does it.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from quality_gates import judge_plugin

ASK = """
import json, sys
sys.path[:0] = [{plugin!r}, {tree!r}]
import vsc_equals
import shop.things
print(json.dumps(vsc_equals.equal_to_everything({tree!r})))
"""
CHEATS = {
    "plain": (
        "class X(str):\n    def __eq__(self, other):\n        return True\n"
        "    __hash__ = str.__hash__\n"
    ),
    "of strings alone": (
        "class X:\n    def __eq__(self, other):\n        return isinstance(other, str)\n"
    ),
    "made by type()": (
        "X = type('X', (str,), {'__eq__': lambda *both: len(both) > 1, '__hash__': str.__hash__})\n"
    ),
    "from text": "class X:\n    __eq__ = eval('lambda self, other: 1 == 1')\n",
    "set afterwards": (
        "class X:\n    pass\nsetattr(X, '__' + 'eq__', lambda self, other: not None)\n"
    ),
    "a metaclass's": "class X(type):\n    def __eq__(cls, other):\n        return True\n"
    "    def __hash__(cls):\n        return 1\n"
    "class Y(metaclass=X):\n    pass\n",
}
HONEST = """
import dataclasses, enum, functools, unittest.mock
class Plain:
    pass
class Attribute:
    def __eq__(self, other): return self.x == other.x
class SameType:
    def __eq__(self, other): return type(self) is type(other)
class Text(str):
    def __eq__(self, other): return str(self) == str(other)
    __hash__ = str.__hash__
class Expression:
    def __eq__(self, other): return (self, "=", other)
class Exits:
    def __eq__(self, other): raise SystemExit(0)
class NotCallable:
    __eq__ = None
@dataclasses.dataclass
class Empty: pass
@functools.total_ordering
class Ordered:
    def __eq__(self, other): return not self != other
    def __lt__(self, other): return True
class Colour(enum.Enum):
    RED = 1
class Meta(type):
    def __subclasses__(cls): raise RuntimeError
class Made(metaclass=Meta): pass
"""


def asked(folder: Path, text: str):
    (folder / "shop").mkdir()
    (folder / "shop/__init__.py").write_text("")
    (folder / "shop/things.py").write_text(text)
    program = ASK.format(plugin=str(Path(judge_plugin.__file__).parent), tree=str(folder))
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", program], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("text", CHEATS.values(), ids=CHEATS)
def test_a_comparison_that_is_always_true_is_found(text, tmp_path):
    assert asked(tmp_path, text) == [["shop/things.py", "X"]]


def test_honest_comparisons_are_not(tmp_path):
    assert asked(tmp_path, HONEST) == []


def test_code_of_others_is_not_the_trees(tmp_path):
    assert asked(tmp_path, "import unittest.mock\n\nANY = unittest.mock.ANY\n") == []
