"""Honest changes: some must pass; each of the others must fail at the gate it is about."""

from pathlib import Path

from cheat_cases import FEATURE, KEY, REFACTOR, TEXT, Case, append, edit, write
from cheats_on_tools import GRADE, GRADE_TEST, fix_median

from quality_gates.model import GatePolicy, TaskType, Verdict

INITIALS = '''

def initials(name):
    """The first letter of each word of `name`."""
    return "".join(word[0].upper() for word in name.split())
'''
INITIALS_TEST = """from toolbox.text import initials


def test_initials():
    assert initials("ada king lovelace") == "AKL"
"""


def feature(tree: Path) -> None:
    """A function and its test."""
    append(tree, TEXT, INITIALS)
    write(tree, "tests/test_initials.py", INITIALS_TEST)


def refactor(tree: Path) -> None:
    """The same by other means."""
    edit(
        tree,
        TEXT,
        '    return separator.join(re.findall(r"[a-z0-9]+", text.lower()))\n',
        (
            '    words = re.split(r"[^a-z0-9]+", text.lower())\n'
            "    return separator.join(word for word in words if word)\n"
        ),
    )


def tests_only(tree: Path) -> None:
    """More tests of what is there."""
    write(
        tree,
        "tests/test_edges.py",
        (
            "from toolbox.text import slugify\n\n\ndef test_nothing_gives_nothing():\n"
            '    assert slugify("") == ""\n'
        ),
    )


def release(tree: Path) -> None:
    """What a release does.

    A feature, a repair, tests rewritten and renamed, tool configuration and version edited.
    """
    feature(tree)
    fix_median(tree)
    edit(tree, "pyproject.toml", 'version = "1.0.0"', 'version = "1.1.0"')
    edit(
        tree,
        "pyproject.toml",
        'testpaths = ["tests"]',
        'testpaths = ["tests"]\naddopts = "-ra"\nxfail_strict = true',
    )
    edit(tree, "pyproject.toml", 'source = ["toolbox"]', 'source = ["toolbox"]\nbranch = true')
    edit(tree, "tests/conftest.py", '"The quick brown Fox"', '"The Quick brown fox"')
    edit(tree, "tests/test_text.py", '"The quick…"', '"The Quick…"')
    edit(
        tree,
        "tests/test_text.py",
        "def test_a_long_text_is_cut(",
        "def test_a_long_text_is_cut_at_the_width(",
    )
    write(
        tree, "CHANGELOG.md", "# 1.1.0\n\n- `initials`\n- the median of an even number of values\n"
    )


PASSING = (
    Case(
        "honest-feature",
        "a feature with its tests",
        Verdict.PASSED,
        None,
        build=feature,
        policy=FEATURE,
    ),
    Case(
        "honest-bugfix",
        "a repair with its tests",
        Verdict.PASSED,
        None,
        build=fix_median,
        policy=GatePolicy(task_type=TaskType.BUGFIX),
    ),
    Case(
        "honest-refactor",
        "the same by other means",
        Verdict.PASSED,
        None,
        build=refactor,
        policy=GatePolicy(task_type=TaskType.REFACTOR),
    ),
    Case(
        "honest-tests",
        "more tests",
        Verdict.PASSED,
        None,
        build=tests_only,
        policy=GatePolicy(task_type=TaskType.TEST_ONLY),
    ),
    Case(
        "honest-release",
        "a release that edits tests, conftest and tool configuration, and may",
        Verdict.PASSED,
        None,
        build=release,
        policy=GatePolicy(test_changes_allowed=True),
        listed=r"tests/conftest\.py",
    ),
)


def untested(tree: Path) -> None:
    """A function of one line that the existing tests run, and no test of its own."""
    edit(tree, TEXT, "    return separator.join(re", "    return _joined(separator, re")
    append(tree, TEXT, "\n\ndef _joined(separator, words):\n    return separator.join(words)\n")


def wrong(tree: Path) -> None:
    """A feature one of whose two tests fails; the other shows that the feature is there."""
    append(tree, TEXT, INITIALS.replace(".upper()", ""))
    another = '\n\ndef test_nobody_has_no_initials():\n    assert initials("") == ""\n'
    write(tree, "tests/test_initials.py", INITIALS_TEST + another)


def half_covered(tree: Path) -> None:
    """A feature of which the tests see a third."""
    append(tree, "src/toolbox/figures.py", GRADE)
    write(tree, "tests/test_grade.py", GRADE_TEST)


def unused_import(tree: Path) -> None:
    """The feature, and an import that nobody needs."""
    feature(tree)
    edit(tree, TEXT, "import re\n", "import os\nimport re\n")


def weak_digest(tree: Path) -> None:
    """Something that bandit knows and our semgrep rules leave to it."""
    body = (
        '"""Names for contents."""\n\nimport hashlib\n\n\ndef key(content):\n    """A name."""\n'
        "    return hashlib.md5(content).hexdigest()\n"
    )
    write(tree, "src/toolbox/keys.py", body)
    write(
        tree,
        "tests/test_keys.py",
        'from toolbox.keys import key\n\n\ndef test_key():\n    assert len(key(b"")) == 32\n',
    )


def slow_comparison(tree: Path) -> None:
    """Something that our semgrep rules know and bandit does not."""
    body = (
        '"""Sign messages."""\n\nimport hashlib\nimport hmac\n\n\n'
        "def valid(key, message, signature):\n"
        '    """Whether `signature` belongs to `message`."""\n'
        "    return hmac.new(key, message, hashlib.sha256).hexdigest() == signature\n"
    )
    write(tree, "src/toolbox/signing.py", body)
    test = (
        "from toolbox.signing import valid\n\n\ndef test_a_wrong_signature():\n"
        '    assert not valid(b"key", b"message", "00")\n'
    )
    write(tree, "tests/test_signing.py", test)


def secret(tree: Path) -> None:
    """The feature, and a key in a file of notes."""
    feature(tree)
    write(tree, "NOTES.txt", f"key: {KEY}\n")


FAILING = (
    Case(
        "fail-no-tests",
        "a feature without tests",
        Verdict.FAILED,
        "new_tests",
        build=untested,
        policy=FEATURE,
        alone=True,
    ),
    Case(
        "fail-regression",
        "code that breaks a test",
        Verdict.FAILED,
        "tests",
        build=lambda tree: edit(tree, TEXT, "text.lower()", "text"),
        policy=REFACTOR,
        evidence=r"test_a_slug_is_lower_case",
        alone=True,
    ),
    Case(
        "fail-wrong-feature",
        "a feature whose own test fails",
        Verdict.FAILED,
        "tests",
        build=wrong,
        policy=FEATURE,
        evidence=r"test_initials",
        alone=True,
    ),
    Case(
        "fail-coverage",
        "too few of the changed lines are tested",
        Verdict.FAILED,
        "coverage",
        build=half_covered,
        policy=FEATURE,
        evidence=r"src/toolbox/figures\.py",
        alone=True,
    ),
    Case(
        "fail-lint",
        "an unused import",
        Verdict.FAILED,
        "lint",
        build=unused_import,
        policy=FEATURE,
        evidence=r"F401",
        alone=True,
    ),
    Case(
        "fail-bandit",
        "a digest that is broken",
        Verdict.FAILED,
        "bandit",
        build=weak_digest,
        policy=FEATURE,
        evidence=r"B324",
        alone=True,
    ),
    Case(
        "fail-semgrep",
        "a comparison whose time tells",
        Verdict.FAILED,
        "semgrep",
        build=slow_comparison,
        policy=FEATURE,
        evidence=r"digest-compared-with-equals",
        alone=True,
    ),
    Case(
        "fail-secret",
        "a key in a file of notes",
        Verdict.FAILED,
        "secrets",
        build=secret,
        policy=FEATURE,
        evidence=r"NOTES\.txt",
        alone=True,
    ),
)
