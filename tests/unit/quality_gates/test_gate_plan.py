"""What is run: trusted settings, explicit files, base evidence out of a patch's reach."""

import json
import subprocess
from dataclasses import replace

import pytest
from gate_evidence import ENVIRONMENT, files_of
from gatelab import change_of

from quality_gates import trusted
from quality_gates.linting import linting_rules, ruff_configuration
from quality_gates.model import GatePolicy, Stage
from quality_gates.plan import base_plan, plan
from quality_gates.pytest_config import read

BASE = {
    "pyproject.toml": "[tool.pytest.ini_options]\n"
    "addopts = '-k none -n 4 --import-mode=importlib -m \"not slow\"'\n"
    "testpaths = ['tests', 'gone']\n"
    "markers = ['slow: takes long', 'net']\nxfail_strict = true\ncache_dir = '/x'\n",
    "src/pkg/__init__.py": "",
    "tests/test_a.py": "",
    "tests/conftest.py": "",
}
POLICY = GatePolicy()


def stages(head, policy=POLICY, base=BASE):
    return {stage.stage: stage for stage in plan(change_of(base, head), policy, ENVIRONMENT)}


def run_json(stage):
    return json.loads(stage.inputs["/vsc/judge/run.json"])


def test_only_the_stages_that_the_change_calls_for_are_planned():
    code = {**BASE, "src/pkg/__init__.py": "x = 1\n"}

    assert set(stages(code)) == {Stage.STATIC, Stage.HEAD}
    assert set(stages({**code, "tests/test_b.py": "x"})) == {
        Stage.STATIC,
        Stage.HEAD,
        Stage.BASE_COPIES,
        Stage.NEW_ON_BASE,
    }
    assert set(stages({**code, "tests/test_a.py": "x"})) == {
        Stage.STATIC,
        Stage.HEAD,
        Stage.BASE_COPIES,
        Stage.NEW_ON_BASE,
    }
    assert stages(BASE) == {}


def test_what_the_build_made_is_laid_into_the_workspace_before_the_tests():
    made = replace(ENVIRONMENT, made=("src/pkg/_version.py",))
    change = change_of(BASE, {**BASE, "src/pkg/__init__.py": "x = 1\n"})

    for stage in (*plan(change, POLICY, made), *base_plan(change, POLICY, made)):
        tools = {tool.name: tool for tool in stage.tools}
        if stage.needs_environment:
            assert tools["made"].argv[-2:] == ("/env/share/vsc-made/.", "/workspace")
            assert "--no-clobber" in tools["made"].argv
            assert tools["pytest"].after == ("made",)
        else:
            assert "made" not in tools
    assert all(
        tool.name != "made"
        for stage in stages(BASE | {"a.py": ""}).values()
        for tool in stage.tools
    )


@pytest.mark.parametrize("plugins", [(), ("asyncio",)])
@pytest.mark.parametrize("written", ["--asyncio-mode=strict", "--asyncio-mode strict"])
def test_an_option_of_a_plugin_that_is_not_installed_is_left_out(plugins, written):
    """tqdm: pytest does not start with an option that it does not know."""
    found = read({"pytest.ini": f"[pytest]\naddopts = {written} -k x\n".encode()}, plugins)

    assert found.options == ((("--asyncio-mode=strict",) if plugins else ()) + ("-k", "x"))
    assert found.dropped == (() if plugins else ("--asyncio-mode=strict",))


def test_base_evidence_does_not_depend_on_the_patch():
    one = base_plan(
        change_of(
            BASE, {**BASE, "pytest.ini": "[pytest]\naddopts = -k none\n", "tests/conftest.py": "x"}
        ),
        POLICY,
        ENVIRONMENT,
    )
    other = base_plan(
        change_of(BASE, {"src/pkg/tool": "#!/usr/bin/env python3\n"}), POLICY, ENVIRONMENT
    )

    assert one == other


def test_configuration_comes_from_base_and_what_hides_tests_is_dropped():
    head = stages(
        {**BASE, "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '--collect-only'\n"}
    )[Stage.HEAD]

    arguments = run_json(head)["pytest_args"]
    assert "--collect-only" not in arguments
    assert "-n" not in arguments
    assert "--import-mode=importlib" in arguments
    assert arguments[arguments.index("-m") + 1] == "not slow"
    assert arguments[-2:] == ["/workspace/tests", "/vsc/judge/canary/vsc_canary.py"]
    ini = head.inputs["/vsc/judge/pytest.ini"].decode()
    assert "xfail_strict = true" in ini
    assert "    slow: takes long\n    net\n" in ini
    assert "cache_dir" not in ini


def test_conftest_is_bases_unless_test_changes_are_allowed():
    head = {**BASE, "tests/conftest.py": "x", "tests/sub/conftest.py": "y", "tests/test_a.py": "z"}
    allowed = replace(POLICY, test_changes_allowed=True)

    assert stages(head)[Stage.HEAD].tree.swapped == ("tests/conftest.py", "tests/sub/conftest.py")
    assert stages(head, allowed)[Stage.HEAD].tree.swapped == ()
    assert stages(head, allowed)[Stage.BASE_COPIES].tree.swapped == (
        "tests/conftest.py",
        "tests/sub/conftest.py",
        "tests/test_a.py",
    )
    assert stages(head)[Stage.NEW_ON_BASE].tree.swapped == ("tests/test_a.py",)
    assert stages(head, allowed)[Stage.NEW_ON_BASE].tree.side == "base"


@pytest.mark.parametrize(
    "path",
    ["tests/test_b.py", "tests/__init__.py", "tests/help.py", "conftest.py", "src/pkg/x_test.py"],
)
def test_bases_tests_also_run_without_what_the_patch_adds_beside_them(path):
    assert stages({**BASE, path: "x = 1\n"})[Stage.BASE_COPIES].tree.swapped == (path,)


@pytest.mark.parametrize("path", ["src/pkg/new.py", "src/pkg/testing/__init__.py"])
def test_what_the_product_may_need_stays_beside_bases_tests(path):
    assert Stage.BASE_COPIES not in stages({**BASE, path: "x = 1\n"})


def named(patterns, testpaths="['spec']"):
    settings = f"[tool.pytest.ini_options]\npython_files = {patterns}\ntestpaths = {testpaths}\n"
    return {
        "pyproject.toml": settings,
        "src/pkg/__init__.py": "",
        "spec/adding_spec.py": "",
        "spec/adding.py": "",
    }


@pytest.mark.parametrize(
    ("patterns", "path"),
    [
        ("'*_spec.py'", "spec/adding_spec.py"),
        ("['check_*.py', '*_spec.py']", "spec/adding_spec.py"),
        ("'spec/*.py'", "spec/adding.py"),
        ("'*.py'", "spec/adding.py"),
    ],
)
def test_tests_by_the_projects_own_names_have_base_copies_too(patterns, path):
    base = named(patterns)
    found = stages({**base, path: "x = 1\n"}, base=base)

    assert found[Stage.BASE_COPIES].tree.swapped == (path,)
    assert found[Stage.NEW_ON_BASE].tree.swapped == (path,)


@pytest.mark.parametrize("testpaths", ["['spec']", "['.']", "[]"])
def test_a_pattern_for_any_module_does_not_make_the_product_a_test(testpaths):
    base = named("'*.py'", testpaths)

    assert set(stages({**base, "src/pkg/__init__.py": "x = 1\n"}, base=base)) == {
        Stage.STATIC,
        Stage.HEAD,
    }


def test_head_may_have_moved_its_tests():
    moved = {path.replace("tests/", "checks/"): content for path, content in BASE.items()}

    assert run_json(stages(moved)[Stage.HEAD])["pytest_args"][-2] == "/workspace"
    assert run_json(stages(moved)[Stage.BASE_COPIES])["pytest_args"][-2] == "/workspace/tests"


def test_odd_names_cannot_be_taken_for_options():
    names = ["-rf.py", "a b.py", "new\nline.py", "--config=x.py"]
    static = stages({**BASE, **dict.fromkeys(names, "x = 1\n")})[Stage.STATIC]

    for tool in static.tools:
        files = files_of(tool)
        assert len(files) == sum("/workspace" in word or "alias" in word for word in tool.argv)
        assert {f"/workspace/{name}" for name in names} <= set(files), tool.name
        assert all(file.startswith("/") for file in files)


def test_scripts_without_a_suffix_are_shown_to_tools_that_go_by_it():
    static = stages({**BASE, "src/pkg/tool": "#!/usr/bin/env python3\neval('1')\n"})[Stage.STATIC]

    assert static.inputs["/vsc/judge/alias/head/0.py"].startswith(b"#!/usr/bin/env python3")
    by_name = {tool.name: tool.argv for tool in static.tools}
    assert "/vsc/judge/alias/head/0.py" in by_name["semgrep"]
    assert "/workspace/src/pkg/tool" in by_name["bandit"]


def test_a_script_of_base_is_read_beside_heads_by_every_tool_that_compares():
    """Base's own stage reads what is Python by its suffix."""
    script = "#!/usr/bin/env python3\neval('1')\n"
    base = {**BASE, "tools/gen": script}
    change = change_of(base, {**base, "tools/gen": script + "x = 1\n"})
    static = next(s for s in plan(change, POLICY, ENVIRONMENT) if s.stage is Stage.STATIC)

    assert static.inputs["/vsc/judge/alias/base/0.py"] == script.encode()
    by_name = {tool.name: tool.argv for tool in static.tools}
    for tool in ("ruff", "bandit", "semgrep"):
        assert "/vsc/judge/alias/base/0.py" in by_name[tool]
    assert "/vsc/judge/alias/head/0.py" not in by_name["ruff"] + by_name["bandit"]


def test_every_command_is_absolute_and_ours_run_isolated():
    change = change_of(BASE, {**BASE, "tests/test_a.py": "x"})
    for stage in (*plan(change, POLICY, ENVIRONMENT), *base_plan(change, POLICY, ENVIRONMENT)):
        names = [tool.name for tool in stage.tools]
        for tool in stage.tools:
            assert tool.argv[0].startswith(("/opt/vsc/bin/", "/env/"))
            assert "python" not in tool.argv[0] or tool.argv[1] == "-I"
            assert set(tool.after) <= set(names)
        assert all(path.startswith("/vsc/") for path in stage.inputs)
        assert stage.needs_environment is (stage.stage not in (Stage.STATIC, Stage.BASE_STATIC))


def test_the_configuration_hash_follows_what_steers_the_tools():
    assert trusted.configuration_sha256(POLICY) == trusted.configuration_sha256(
        replace(POLICY, coverage_minimum=0.1)
    )
    assert trusted.configuration_sha256(POLICY) != trusted.configuration_sha256(
        replace(POLICY, linting_rules="pycodestyle")
    )


@pytest.mark.parametrize(
    ("pyproject", "target"),
    [
        (b'[project]\nrequires-python = ">=3.9"\n', 'target-version = "py39"'),
        (b'[project]\nrequires-python = "~=3.12, !=3.12.1"\n', 'target-version = "py312"'),
        (b'[project]\nrequires-python = ">=3.99"\n', 'target-version = "py314"'),
        (b'[project]\nrequires-python = "<4"\n', None),
        (b"[project]\nrequires-python = 3\n", None),
        (b"not toml [", None),
        (None, None),
    ],
)
def test_ruffs_own_defaults_are_asked_for_the_python_that_the_project_supports(pyproject, target):
    text = ruff_configuration("ruff-defaults", {"pyproject.toml": pyproject or b""})

    assert "select" not in text
    assert (target in text) if target else ("target-version" not in text)


@pytest.mark.parametrize(
    ("name", "words"), [("standard-js", "JavaScript"), ("whatever", "not known"), ("", "not known")]
)
def test_an_unknown_or_foreign_rule_set_is_refused_with_what_to_use(name, words):
    with pytest.raises(ValueError, match=f"(?s){words}.*ruff-defaults"):
        linting_rules(name)


@pytest.mark.parametrize(
    ("files", "options", "source"),
    [
        (
            {
                "pytest.ini": "[pytest]\naddopts = --strict-markers -x\n",
                "tox.ini": "[pytest]\naddopts = -p pytester\n",
            },
            ("--strict-markers",),
            "pytest.ini",
        ),
        ({"tox.ini": "[pytest]\naddopts = -p pytester -p evil\n"}, ("-p", "pytester"), "tox.ini"),
        (
            {"setup.cfg": "[tool:pytest]\naddopts =\n    --doctest-modules\n    --cov=x\n"},
            ("--doctest-modules",),
            "setup.cfg",
        ),
        ({"pyproject.toml": "not toml ["}, (), None),
    ],
)
def test_configuration_is_found_where_pytest_finds_it(files, options, source):
    from quality_gates.pytest_config import read

    found = read({name: content.encode() for name, content in files.items()})

    assert (found.source, found.options) == (source, options)


def test_more_paths_than_a_command_line_holds_are_given_in_batches():
    names = [f"src/{'deep' * 12}/{'part' * 9}/module{number}.py" for number in range(25_000)]
    base = {**BASE, **dict.fromkeys(names, "")}
    assert sum(map(len, names)) > 2 * 2**20
    static = base_plan(change_of(base, base), POLICY, ENVIRONMENT)[0]

    read: dict[str, list[str]] = {}
    for tool in static.tools:
        subprocess.run(["/bin/true", *tool.argv[1:]], env=tool.environ, check=True)
        read[tool.name.partition("-")[0]] = read.get(tool.name.partition("-")[0], [])
        read[tool.name.partition("-")[0]] += files_of(tool)

    assert set(read) == {"ruff", "ruff_honouring", "bandit", "semgrep", "secrets"}
    for files in read.values():
        assert len(files) == len(set(files))
        assert {f"/workspace/{name}" for name in names} <= set(files)
    waits = {tool.name: tool.after for tool in static.tools}
    assert waits["semgrep-2"] == ("semgrep",)
    assert set(static.outputs) == {f"{name}.json" for name in waits}
