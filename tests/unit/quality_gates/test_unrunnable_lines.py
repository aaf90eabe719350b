"""Lines that nothing can run on CPython 3.13 under Linux."""

import pytest

from quality_gates.unrunnable_lines import unrunnable

CANNOT = {
    "types alone": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a  #\n",
    "dots after a long head": "def f(\n    a=bad(),\n):\n    ...  #\n",
    "types alone, by another name": "import typing as t\nif t.TYPE_CHECKING:\n    import a  #\n",
    "typing is not imported": "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import a  #\n",
    "a newer Python": "import sys\nif sys.version_info >= (3, 14):\n    a = 1  #\n",
    "an older Python": "import sys\nif sys.version_info < (3, 13):\n    a = 1  #\n",
    "this Python, the other way": "import sys\nif (3, 13) <= sys.version_info:\n    a = 1\nelse:\n"
    "    b = 1  #\n    c = 1  #\n",
    "by two numbers": "import sys\nif sys.version_info[:2] == (3, 13):\n    a = 1\nelif a:  #\n"
    "    b = 1  #\n",
    "by the first number": "import sys\nif sys.version_info[0] == 2:\n    a = 1  #\n",
    "by name": "from sys import version_info\nif version_info.minor < 13:\n    a = 1  #\n",
    "another system": "import sys\nif sys.platform == 'win32':\n    a = 1  #\n",
    "another system, by its beginning": (
        "import sys\nif sys.platform.startswith('win'):\n    a = 1  #\n"
    ),
    "another kind of system": "import os\nif os.name == 'nt':\n    a = 1  #\n",
    "another interpreter": "import sys\nif sys.implementation.name != 'cpython':\n    a = 1  #\n",
    "one of two suffices": "import sys\nif x and sys.version_info < (3,):\n    a = 1  #\n",
    "both must be": "import sys\nif x or sys.version_info < (3,):\n    a = 1\n",
    "not": "import sys\nif not sys.version_info >= (3,):\n    a = 1  #\n",
    "inside of more": "import sys\nclass A:\n    def f(self):\n        try:\n            pass\n"
    "        except E:\n            if sys.version_info < (3,):\n                a = 1  #\n",
    "a body of dots": 'def f():\n    """It."""\n    ...  #\n',
    "a function with its decorator": "import sys\nif sys.version_info < (3,):\n    @d  #\n"
    "    def f():  #\n        return 1  #\n",
}
CANNOT |= {
    "a constant of the module": "import sys\nPY2 = sys.version_info[0] == 2\nif PY2:\n"
    "    a = 1  #\n",
    "a constant of a constant": "import sys\nPY3 = sys.version_info[0:2] >= (3, 0)\nPY2 = not PY3\n"
    "if PY2:\n    a = 1  #\n",
}
CAN = {
    "a relative import beside it": "import sys\nfrom .compat import sys\nif sys.platform == 'x':\n"
    "    a = 1\n",
    "a star import": "import sys\nfrom x import *\nif sys.platform == 'x':\n    a = 1\n",
    "what is written to sys": "import sys\nsys.platform = 'x'\nif sys.platform == 'x':\n"
    "    a = 1\n",
    "what is written to typing": "import typing as t\nt.TYPE_CHECKING = f()\nif t.TYPE_CHECKING:\n"
    "    a = 1\n",
    "the rest of a mapping": "import sys\nmatch x:\n    case {'a': 1, **sys}:\n"
    "        if sys.platform == 'x':\n            a = 1\n",
    "the rest of a list": "import sys\nmatch x:\n    case [1, *sys]:\n"
    "        if sys.platform == 'x':\n            a = 1\n",
    "a module that the tree may have": "from typing_extensions import TYPE_CHECKING\n"
    "if TYPE_CHECKING:\n    a = 1\n",
    "a test that runs on the line of its body": "from typing import TYPE_CHECKING\n"
    "if f() and TYPE_CHECKING: pass\n",
    "a constant of a class": "class A:\n    TYPE_CHECKING = False\nif TYPE_CHECKING:\n    a = 1\n",
    "a default on the line before": "def f(\n    a=bad(),\n    b=bad()): ...\n",
    "a switch": "DEBUG = False\nif DEBUG:\n    a = 1\n",
    "a constant that is bound twice": "import sys\nPY2 = sys.version_info[0] == 2\nPY2 = f()\n"
    "if PY2:\n    a = 1\n",
    "a constant of itself": "A = not A\nif A:\n    a = 1\n",
    "an import of one's own beside it": "from typing import TYPE_CHECKING\n"
    "from mine import TYPE_CHECKING\nif TYPE_CHECKING:\n    a = 1\n",
    "a relative import": "from . import sys\nif sys.version_info < (3,):\n    a = 1\n",
    "an augmented one": "import sys\nOLD = sys.version_info < (3,)\nOLD |= f()\n"
    "if OLD:\n    a = 1\n",
    "a walrus": "import sys\nif (sys := f()):\n    pass\nif sys.platform == 'x':\n    a = 1\n",
    "a name of one's own": "TYPE_CHECKING = f()\nif TYPE_CHECKING:\n    a = 1\n",
    "a name that is bound again": "from typing import TYPE_CHECKING\nTYPE_CHECKING = True\n"
    "if TYPE_CHECKING:\n    a = 1\n",
    "a constant that is set elsewhere": "TYPE_CHECKING = False\ndef f():\n"
    "    global TYPE_CHECKING\n    TYPE_CHECKING = True\nif TYPE_CHECKING:\n    a = 1\n",
    "a module of that name": "from mine import sys\nif sys.version_info < (3,):\n    a = 1\n",
    "a parameter": "import sys\ndef f(sys):\n    if sys.version_info < (3,):\n        a = 1\n",
    "nobody has imported it": "if sys.version_info < (3,):\n    a = 1\n",
    "the third number": "import sys\nif sys.version_info < (3, 13, 5):\n    a = 1\n",
    "a call": "import sys\nif int(sys.version_info[0]) < 3:\n    a = 1\n",
    "a body with more than dots": "def f():\n    g()\n    ...\n",
    "dots on the line of the function": "def f(): ...\n",
    "not Python": "if sys.version_info < (3,)\n    a = 1\n",
    "chained": "import sys\nif (3,) > sys.version_info > (2,):\n    a = 1\n",
    "texts and numbers": "import sys\nif sys.platform < 3:\n    a = 1\n",
}


@pytest.mark.parametrize("case", CANNOT)
def test_what_cannot_run_is_known(case):
    lines = CANNOT[case].splitlines()

    found = unrunnable(CANNOT[case].encode(), (3, 13))

    marked = {
        number for number, line in enumerate(lines, 1) if line.endswith("#") and line.strip("# ")
    }
    assert found == marked


@pytest.mark.parametrize("case", CAN)
def test_what_might_run_is_not_excused(case):
    assert unrunnable(CAN[case].encode(), (3, 13)) == set()


def test_an_unknown_version_decides_nothing():
    source = (
        b"import sys\nif sys.version_info < (3,):\n    a = 1\nif sys.platform == 'x':\n    b = 1\n"
    )

    assert unrunnable(source, None) == {5}
