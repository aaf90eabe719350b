"""The documentation names only what is there: tests, pages, decisions."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def names_of(file):
    tree = ast.parse(file.read_text())
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    ("page", "at_least"), [("docs/not-yet-tested.md", 80), ("docs/security/review.md", 5)]
)
def test_every_test_that_is_said_to_cover_a_fault_exists(page, at_least):
    text = (ROOT / page).read_text()
    files = {file.name: names_of(file) for file in (ROOT / "tests").rglob("test_*.py")}
    named = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", text)

    assert len(named) > at_least
    assert [
        (file, test)
        for file, test in named
        if file not in files or (test and test not in files[file])
    ] == []


def test_every_decision_is_listed_once_and_in_its_form():
    folder = ROOT / "docs/adr"
    pages = sorted(folder.glob("0*.md"))

    assert re.findall(r"\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text()) == [
        page.name for page in pages
    ]
    for page in pages:
        text = page.read_text()
        assert text.startswith(f"# {page.name[:4]} "), page.name
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ], page.name


def test_every_defect_of_a_review_has_a_test():
    """Row by row: what is mended is held by a test that is named beside it."""
    page = (ROOT / "docs/security/review.md").read_text()
    rows = re.findall(r"^\| (D\d+) \|(.*)$", page, re.MULTILINE)

    assert len({row for row, _ in rows}) == len(rows) > 0
    assert [row for row, cells in rows if "::test_" not in cells] == []


def test_every_page_is_on_the_map():
    on_map = set(re.findall(r"[(`]([\w-]+\.md)[)`]", (ROOT / "docs/README.md").read_text()))

    assert {page.name for page in ROOT.glob("docs/*.md")} - {"README.md"} - on_map == set()


def test_every_row_of_the_catalogue_has_exactly_one_place():
    page = (ROOT / "docs/not-yet-tested.md").read_text()
    cells = ", ".join(re.findall(r"^\| ([A-Z]\d[\w, -]*) \|", page, re.MULTILINE)).split(", ")
    listed = []
    for cell in cells:
        first, _, last = cell.partition("-")
        numbers = range(int(first[1:]), int((last or first)[1:]) + 1)
        listed += [f"{first[0]}{number}" for number in numbers]

    rows = {"S": 34, "G": 25, "E": 12, "P": 18, "F": 49, "H": 38}
    assert sorted(listed) == sorted(
        f"{letter}{number}" for letter, top in rows.items() for number in range(1, top + 1)
    )


def test_the_walk_through_a_request_names_what_is_there_and_opens_each_file_once():
    page = (ROOT / "docs/architecture.md").read_text()
    steps = re.findall(r"^\| (?:\d+|[a-z]) \| `([\w/]+\.py)` \| `(\w+)` \|", page, re.MULTILINE)
    files = [file for file, _ in steps]

    assert len(steps) > 30
    assert sorted(files) == sorted(set(files))
    for file, function in steps:
        assert function in names_of(ROOT / file), (file, function)
