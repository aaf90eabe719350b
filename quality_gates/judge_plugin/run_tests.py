# mypy: ignore-errors
# It runs inside the judged project's interpreter, beside any pytest from the last years: no
# annotations of ours or of pytest.
# ruff: noqa: ANN001, ANN201, ANN202 -- likewise
"""The judged tests, once, under coverage.

The first thing in its process, so that what it needs is loaded before hostile code is.

Usage: python -I run_tests.py CONFIG    (a JSON file: see `quality_gates.testplan`)
"""

import json
import os
import site
import sys


def main(argv):
    """Run pytest as the configuration says; its exit code is ours."""
    with open(argv[1], encoding=("utf-8")) as stream:  # noqa: PTH123 -- nothing more than is needed is imported here
        config = json.load(stream)
    events = _private_descriptor()
    import coverage  # noqa: PLC0415 -- in this order on purpose: ours first, then the judged tree's import path

    measured = coverage.Coverage(
        config_file=config["coveragerc"], data_file=config["coverage_data"], messages=False
    )
    # Before pytest: where the judged project is one that pytest is made of (pluggy, iniconfig), its
    # modules are imported with it.
    measured.start()
    import pytest  # noqa: PLC0415

    equals = _load(config["equals"])
    plugins = _plugins(config["pytest_plugins"], config["modules"])
    judge = _load(config["plugin"]).Judge(events, config, plugins)
    _extend_path(config["pythonpath"])
    os.chdir(config["workspace"])
    # Our questions to the tree's comparisons are none of its tests: they come when nothing is
    # measured any more.
    judge.at_end(measured.stop, lambda: equals.equal_to_everything(config["workspace"]))
    try:
        code = int(pytest.main(config["pytest_args"], plugins=[judge]))
    finally:
        measured.stop()
        measured.save()
    return code


def _private_descriptor():
    """The event stream under a number of ours, not inherited by children.

    Gone from the environment.
    """
    given = int(os.environ.pop("VSC_TEST_EVENTS_FD"))
    mine = os.dup(given)
    os.set_inheritable(mine, False)
    os.close(given)
    return mine


def _load(path):
    """Not in `sys.modules`: whoever wants to replace one of its functions must first find it."""
    import importlib.util  # noqa: PLC0415 -- see main

    name = os.path.basename(path).removesuffix(".py")  # noqa: PTH119 -- see main
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _plugins(names, own):
    """Installed plug-ins of pytest by their entry points: (name, what gives the plug-in).

    They are looked for among what is installed, and imported while the judged tree is not on the
    import path: nothing in it can take their place. Those that are the judged project's own
    modules are imported when pytest wants them.
    """
    import importlib.metadata  # noqa: PLC0415 -- see main

    found = {}
    for distribution in importlib.metadata.distributions(path=site.getsitepackages()):
        for point in distribution.entry_points:
            if point.group == "pytest11" and point.name in names:
                found.setdefault(point.name, point)
    return [(name, _giver(found[name], own)) for name in names if name in found]


def _giver(point, own):
    if point.value.partition(":")[0].partition(".")[0] in own:
        return point.load
    plugin = point.load()
    return lambda: plugin


def _extend_path(roots):
    """After the standard library, which nobody shadows, and before what is installed.

    The judged tree is what is judged.
    """
    installed = set(site.getsitepackages())
    at = next((index for index, entry in enumerate(sys.path) if entry in installed), len(sys.path))
    sys.path[at:at] = [root for root in roots if os.path.isdir(root)]  # noqa: PTH112 -- see main


if __name__ == "__main__":
    sys.exit(main(sys.argv))
