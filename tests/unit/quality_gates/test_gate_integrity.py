"""`integrity` and what it is made of: suppressions, dependencies, hostile entries. Pure."""

from dataclasses import replace

import pytest
from gatelab import change_of

from quality_gates.gates.integrity import changed_dependencies, judge
from quality_gates.model import FileChange, GatePolicy, Verdict
from quality_gates.suppressions import BLANKET, KINDS, NAMED, SECURITY, SHOWN, counts, growth

POLICY = GatePolicy()
MARKS = {
    "nosec": "eval(x)  # nosec B307",
    "nosemgrep": "eval(x)  # nosemgrep: rule",
    "blanket noqa": "import os  #noqa",
    "noqa of security": "eval(x)  # noqa: F401,S307",
    "noqa": "import os  #noqa:F401",
    "ruff: disable": "# ruff: disable[E501]",
    "type: ignore": "x = y  # type: ignore[attr-defined]",
    "pragma: no cover": "if x:  # pragma: no cover",
    "skip or xfail": "@pytest.mark.skipif(True)",
    "allowlist secret": "p = 'x'  # pragma: allowlist secret",
}


def verdict_of(base, head, policy=POLICY, **more):
    return judge(change_of(base, head, **more), policy).verdict


def test_every_kind_has_an_example():
    assert set(MARKS) == set(KINDS)


@pytest.mark.parametrize("kind", MARKS)
def test_a_new_mark_of_each_kind_is_named_and_fails_unless_it_can_be_checked(kind):
    """flask: one `noqa` with a rule's name; pyjwt: `type: ignore`. Both are ordinary."""
    report = judge(change_of({"a.py": "x = 1\n"}, {"a.py": f"x = 1\n{MARKS[kind]}\n"}), POLICY)

    assert report.verdict is (Verdict.PASSED if kind in SHOWN else Verdict.FAILED)
    told = report.notes if kind in SHOWN else report.reasons
    assert any(f"{kind}, 0 at base, 1 at head" in line for line in told), report


@pytest.mark.parametrize("kind", MARKS)
def test_a_text_that_speaks_of_a_mark_is_none(kind):
    text = {"a.py": f'x = {MARKS[kind]!r}\ny = """\n{MARKS[kind]}\n"""\n'}

    assert growth(change_of({"a.py": ""}, text)) == {}


@pytest.mark.parametrize("path", ["docs/lint.md", "setup.cfg", "CHANGES.rst"])
def test_a_page_that_speaks_of_marks_has_none(path):
    assert growth(change_of({}, {path: "\n".join(MARKS.values())})) == {}


@pytest.mark.parametrize("kind", MARKS)
def test_what_no_tokenizer_reads_is_read_line_by_line(kind):
    broken = f'x = (\n\n"""\n{MARKS[kind]}\n'

    assert kind in counts(broken.encode())


@pytest.mark.parametrize(
    ("comment", "kind"),
    [
        ("# noqa", BLANKET),
        ("# NOQA:", BLANKET),
        ("# noqa : F401", NAMED),
        ("# noqa: F401, E731 -- why", NAMED),
        ("# noqa:F401 E731", NAMED),
        ("# noqa: s105", SECURITY),
        ("# type: ignore # noqa: F401", NAMED),
        ("# ruff: ignore[F401]", NAMED),
        ("# ruff:ignore[get-attr-with-constant, E731]", NAMED),
        ("# ruff: ignore[S307]", SECURITY),
        ("# ruff: ignore[suspicious-eval-usage]", SECURITY),
        ("# ruff: ignore", "ruff: disable"),
        ("# ruff: ignore[]", "ruff: disable"),
        ("# ruff: noqa", BLANKET),
        ("# flake8: noqa", BLANKET),
        ("# flake8: noqa: E501", NAMED),
    ],
)
def test_a_noqa_names_its_rules_or_is_blanket(comment, kind):
    kinds = {BLANKET, SECURITY, NAMED, "ruff: disable"}
    assert kinds & set(counts(f"x = 1  {comment}\n".encode())) == {kind}


def test_a_mark_that_moves_to_another_file_is_no_growth():
    marked = "import os  # noqa\n"

    assert growth(change_of({"a.py": marked}, {"b.py": marked})) == {}


def test_marks_in_tests_are_shown_where_test_changes_are_allowed():
    head = {"tests/test_a.py": "@pytest.mark.xfail\n"}
    allowed = replace(POLICY, test_changes_allowed=True)

    report = judge(change_of({"tests/test_a.py": ""}, head), allowed)
    assert report.verdict is Verdict.PASSED
    assert any("skip or xfail" in note for note in report.notes)
    assert verdict_of({"tests/test_a.py": ""}, head) is Verdict.FAILED
    assert (
        verdict_of({"tests/t.py": ""}, {"tests/t.py": MARKS["allowlist secret"]}, allowed)
        is Verdict.FAILED
    )


EQUAL = [
    "class A:\n    def __eq__(self, other):\n        return True\n",
    (
        "class A:\n    def __eq__(self, other: object) -> bool:\n        '''x'''\n"
        "        return True\n"
    ).replace("'''", '"""'),
    "class A:\n    __eq__ = lambda self, other: True\n",
    "def __eq__(s, o): return True\n",
]


@pytest.mark.parametrize("text", EQUAL)
def test_an_object_that_equals_everything_is_tampering_unless_base_has_it(text):
    assert verdict_of({}, {"a.py": text}) is Verdict.TAMPERED
    assert verdict_of({"a.py": text}, {"a.py": text + "x = 1\n"}) is Verdict.PASSED


def test_one_in_a_test_file_is_no_tampering_and_needs_leave():
    head = {"tests/values.py": EQUAL[0]}
    allowed = replace(POLICY, test_changes_allowed=True)

    assert verdict_of({}, head) is Verdict.FAILED
    report = judge(change_of({}, head), allowed)
    assert report.verdict is Verdict.PASSED
    assert any("tests/values.py adds an object" in note for note in report.notes)


def test_an_honest_comparison_is_none():
    assert (
        verdict_of(
            {},
            {"a.py": "class A:\n    def __eq__(self, other):\n        return self.x == other.x\n"},
        )
        is Verdict.PASSED
    )


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "a/../../../x", ".git/config"])
def test_a_link_that_leaves_the_repository_fails(target):
    assert verdict_of({}, {"a.py": "x = 1\n"}, links={"sub/link": target}) is Verdict.FAILED


def test_a_link_inside_is_fine():
    assert verdict_of({}, {"a.py": "x = 1\n"}, links={"sub/link": "../a.py"}) is Verdict.PASSED


@pytest.mark.parametrize("path", ["a/.git/config", ".GIT/x", "a\nb.py", "../x", "/abs", "x" * 1100])
def test_a_hostile_path_fails_and_is_shown_harmlessly(path):
    report = judge(change_of({}, {path: "x = 1\n"}), POLICY)

    assert report.verdict is Verdict.FAILED
    assert "\n" not in report.reasons[0]


def test_a_submodule_and_an_unreadable_python_file_fail():
    change = change_of({}, {"a.py": "x = 1\n"})
    link = FileChange("sub", None, "160000", None, "a" * 40)

    assert judge(replace(change, files=(*change.files, link)), POLICY).verdict is Verdict.FAILED
    assert judge(replace(change, head_contents={}), POLICY).verdict is Verdict.FAILED


def test_names_that_differ_in_case_alone_fail():
    assert verdict_of({"Readme.md": "x"}, {"Readme.md": "x", "README.md": "y"}) is Verdict.FAILED
    assert verdict_of({"Readme.md": "x"}, {"README.md": "y"}) is Verdict.PASSED


PYPROJECT = "[project]\nname = 'x'\nversion = '1'\ndependencies = ['a']\n[tool.x]\ny = 1\n"
DEPENDENCIES = {
    "a requirement": ({"requirements/dev.txt": "a\n"}, {"requirements/dev.txt": "a\nb\n"}, True),
    "a comment": ({"requirements.txt": "a\n"}, {"requirements.txt": "# why\na  # here\n"}, False),
    "a dependency": (
        {"pyproject.toml": PYPROJECT},
        {"pyproject.toml": PYPROJECT.replace("['a']", "['a', 'b']")},
        True,
    ),
    "a version": (
        {"pyproject.toml": PYPROJECT},
        {"pyproject.toml": PYPROJECT.replace("'1'", "'2'").replace("y = 1", "y = 2")},
        False,
    ),
    "a broken project file": ({"pyproject.toml": PYPROJECT}, {"pyproject.toml": "["}, True),
    "a lock": ({}, {"uv.lock": "x"}, True),
    "setup.cfg": (
        {"setup.cfg": "[options]\ninstall_requires =\n    a\n"},
        {"setup.cfg": "[options]\ninstall_requires =\n    b\n"},
        True,
    ),
    "setup.py": (
        {"setup.py": "setup(install_requires=['a'])"},
        {"setup.py": "setup(install_requires=['b'])"},
        True,
    ),
    "setup.py, elsewhere": (
        {"setup.py": "setup(install_requires=['a'])"},
        {"setup.py": "setup(x=1, install_requires=['a'])"},
        False,
    ),
}


@pytest.mark.parametrize("case", DEPENDENCIES)
def test_dependencies_need_leave(case):
    base, head, changed = DEPENDENCIES[case]
    change = change_of(base, head)

    assert bool(changed_dependencies(change)) is changed
    assert judge(change, POLICY).verdict is (Verdict.FAILED if changed else Verdict.PASSED)
    assert judge(change, replace(POLICY, dependency_changes_allowed=True)).verdict is Verdict.PASSED


def test_protected_paths_are_listed_and_do_not_block():
    report = judge(
        change_of(
            {},
            {
                "Makefile": "x",
                "x.pth": "y",
                "tests/data/one.dist-info/entry_points.txt": "z",
                "pytest.ini": "[pytest]",
            },
        ),
        POLICY,
    )

    assert report.verdict is Verdict.PASSED
    assert all(
        name in report.notes[0] for name in ("Makefile", "x.pth", "entry_points.txt", "pytest.ini")
    )
    assert "no effect" in report.notes[1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.dist-info/entry_points.txt", "[pytest11]\nasyncio = helper\n"),
        ("src/a.egg-info/entry_points.txt", "[pytest11]\nasyncio = helper\n"),
        ("sitecustomize.py", "x = 1\n"),
        ("src/usercustomize.py", "x = 1\n"),
        ("pkg/odd.py", "x = 1\r# hidden\ny = 2\n"),
        ("pkg/d\udcff.py", "x = 1\n"),
        ("d\udcff/t.py", "x = 1\n"),
    ],
)
def test_what_the_interpreter_takes_otherwise_than_gates_is_refused_by_name(name, content):
    report = judge(change_of({}, {name: content}), POLICY)

    assert report.verdict is Verdict.FAILED
    assert repr(name) in report.reasons[0]


@pytest.mark.parametrize(
    "files",
    [
        {"pkg/odd.py": "x = 1\r\ny = 2\r\n"},
        {"notes.txt": "x\ry\n", "pkg/a.py": "x = 1\n"},
        {"d\udcff.txt": "x\n", "pkg/a.py": "x = 1\n"},
    ],
)
def test_ordinary_files_are_not(files):
    assert judge(change_of({}, files), POLICY).verdict is Verdict.PASSED


def test_a_start_module_that_base_has_may_stay_as_it_is():
    base = {"sitecustomize.py": "x = 1\n", "a.py": "x = 1\n"}

    assert judge(change_of(base, {**base, "a.py": "x = 2\n"}), POLICY).verdict is Verdict.PASSED
