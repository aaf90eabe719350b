# mypy: ignore-errors
# It runs inside the judged project's interpreter, beside any pytest from the last years: no
# annotations of ours or of pytest.
# ruff: noqa: ANN001, ANN003, ANN201, ANN202, ANN204, ARG002 -- pytest's hooks have these parameters
# ruff: noqa: PTH110, PTH118 -- nothing more than is needed is imported here
"""pytest's side of the judge.

Writes every test event the moment it happens, and a report at the end.

It shares a process with hostile code, so nothing here is proof alone: the control plane compares
the event stream, this report, JUnit's file, the exit code and the canary, and it is their
disagreement that speaks. An outcome is taken from the exception that was raised, not from the
report object that others can rewrite.
"""

from __future__ import annotations

import inspect
import json
import os
import sys

import pytest
from _pytest.python import pytest_pyfunc_call as call_test
from _pytest.unittest import TestCaseFunction

BATCH = 200
DETAIL_CHARACTERS = 4000
DETAILS_CHARACTERS = 4 * 2**20
# Of all tests together, so that a large suite of which everything fails fits into the record too.
ID_CHARACTERS = 4096
CANARY = ("test_vsc_canary_first", "test_vsc_canary_last")
_WORST = ("passed", "xpassed", "xfailed", "skipped", "failed", "error")


class Judge:
    """The plugin. `events_fd` is ours alone; `config` is the document that the plan ships.

    `plugins`: installed ones to register, as (name, what gives it).
    """

    def __init__(self, events_fd, config, plugins=()):
        self._plugins = plugins
        self._fd = events_fd
        self._config = config
        self._collected = {}
        self._phases = {}
        self._outcomes = {}
        self._disagreements = []
        self._calls = {}
        self._overruled = []
        self._errors = []
        self._details_left = DETAILS_CHARACTERS
        self._pid = os.getpid()
        # Bound now: what the judged code does to these modules later does not reach us.
        self._write, self._dumps, self._getpid = os.write, json.dumps, os.getpid
        self._stop_measuring, self._equal_to_everything = (lambda: None), list

    def at_end(self, stop_measuring, equal_to_everything):
        """What is done when the last test is over.

        Stop coverage, then look for comparisons that are always true.
        """
        self._stop_measuring, self._equal_to_everything = stop_measuring, equal_to_everything

    def emit(self, kind, **fields):
        """One line, whole, at once. A forked child is not the session and stays silent."""
        if self._getpid() != self._pid:
            return
        line = (self._dumps({"kind": kind, **fields}) + "\n").encode("utf-8", "replace")
        while line:
            line = line[self._write(self._fd, line) :]

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_cmdline_parse(self, pluginmanager, args):
        """Register the installed plugins that were named to us, as pytest does all that it finds.

        Not by `-p`: that takes the name for a module's, and warns where one is loaded already
        (pytest-socket calls itself `socket`). Nor by pytest's own look at entry points, which takes
        those in the judged tree first.
        """
        for name, give in self._plugins:
            if not (pluginmanager.get_plugin(name) or pluginmanager.is_blocked(name)):
                pluginmanager.register(give(), name=name)
        yield

    @pytest.hookimpl(tryfirst=True)
    def pytest_itemcollected(self, item):
        """Remember everything that was found, before anybody filters it."""
        self._collected[item.nodeid] = item

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, session, config, items):
        """After all others: the canary back in, at both ends."""
        yield
        canaries = [item for nodeid, item in self._collected.items() if _is_canary(nodeid)]
        items[:] = (
            canaries[:1] + [item for item in items if not _is_canary(item.nodeid)] + canaries[1:]
        )

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_collection_finish(self, session):
        """What will run."""
        yield
        ids = [item.nodeid[:ID_CHARACTERS] for item in session.items]
        for start in range(0, len(ids), BATCH):
            self.emit("collected", ids=ids[start : start + BATCH])

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_make_collect_report(self, collector):
        """A file that cannot be collected is an event of its own."""
        outcome = yield
        try:
            report = outcome.get_result()
        except BaseException as error:  # noqa: BLE001 -- it is reported, and pytest raises it again
            self._error(collector.nodeid, f"{type(error).__name__}: {error}")
            return
        if report.outcome == "failed":
            self._error(report.nodeid, str(report.longrepr))

    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(self, excrepr, excinfo):
        """Pytest itself was stopped: an exit on import, a broken hook."""
        self._error("", f"{excinfo.typename}: {excrepr}")

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item, nextitem):
        """One test, from its start to the end of its teardown."""
        nodeid = item.nodeid
        self._phases[nodeid] = []
        self.emit("started", id=nodeid[:ID_CHARACTERS])
        yield
        phases = self._phases.pop(nodeid, [])
        outcome = max((phase[0] for phase in phases), key=_WORST.index, default="error")
        detail = next((phase[2] for phase in phases if phase[0] == outcome and phase[2]), "")
        detail = detail[: min(DETAIL_CHARACTERS, self._details_left)]
        self._details_left -= len(detail)
        self._outcomes[nodeid] = outcome
        self.emit(
            "finished",
            id=nodeid[:ID_CHARACTERS],
            outcome=outcome,
            duration_s=round(sum(phase[1] for phase in phases), 6),
            detail=detail,
        )

    @pytest.hookimpl
    def pytest_pyfunc_call(self, pyfuncitem):
        """The test's function, called in pytest's stead.

        After all that conftest files and plugins put around it or before it.

        Hooks of a folder's conftest see the tests of that folder alone, so no canary of ours is
        among them; this is.
        """
        __tracebackhide__ = True
        self._calls[pyfuncitem.nodeid] = "raised"
        try:
            result = call_test(pyfuncitem)
        except pytest.skip.Exception:
            self._calls[pyfuncitem.nodeid] = "skipped"
            raise
        self._calls[pyfuncitem.nodeid] = "returned"
        return result

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item, call):
        """The outcome of a phase from what was raised.

        A report that says better than that is a disagreement.
        """
        raised = call.excinfo
        outcome = yield
        report = outcome.get_result()
        truth = _truth(raised, call.when, report)
        if truth in ("failed", "error") and report.outcome == "passed":
            self._disagreements.append([item.nodeid[:ID_CHARACTERS], call.when])
        if call.when == "call" and truth in ("passed", "xpassed") and self._overrules(item):
            self._overruled.append(item.nodeid[:ID_CHARACTERS])
        detail = "" if truth in ("passed", "xpassed") else _text(raised, report)
        self._phases.setdefault(item.nodeid, []).append((truth, call.duration, detail))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report):
        """Reports that others add (subtests) count as their test's."""
        if report.outcome == "failed" and report.nodeid in self._phases:
            kind = "failed" if report.when == "call" else "error"
            self._phases[report.nodeid].append((kind, 0.0, ""))

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session, exitstatus):
        """The end: the report, then the last event."""
        yield
        code = int(session.exitstatus)
        self._stop_measuring()
        for path, name in self._equal_to_everything():
            self.emit("equals", path=path[:ID_CHARACTERS], name=name[:ID_CHARACTERS])
        with open(self._config[("report")], "w", encoding="utf-8") as stream:  # noqa: PTH123 -- pathlib may be patched by now
            json.dump(self._report(code), stream)
        self.emit("session", exit_code=code)

    def _overrules(self, item):
        """Whether a test ended well although its function did not, or was never called."""
        told = self._calls.pop(item.nodeid, None)
        return told in ("raised", "skipped") or (told is None and _calls_plainly(item))

    def _report(self, code):
        running = set(self._outcomes)
        return {
            "pytest": pytest.__version__,
            "python": sys.version.split()[0],
            "exit_code": code,
            "outcomes": {
                nodeid[:ID_CHARACTERS]: outcome for nodeid, outcome in self._outcomes.items()
            },
            "not_run": sorted(
                nodeid[:ID_CHARACTERS] for nodeid in self._collected if nodeid not in running
            ),
            "errors": self._errors[:1000],
            "disagreements": self._disagreements[:1000],
            "overruled": self._overruled[:1000],
            "foreign": _foreign(
                self._config["modules"], self._config["workspace"], self._config["pythonpath"]
            ),
        }

    def _error(self, nodeid, detail):
        self._errors.append([nodeid[:ID_CHARACTERS], detail[:DETAIL_CHARACTERS]])
        self.emit("error", id=nodeid[:ID_CHARACTERS], detail=detail[:DETAIL_CHARACTERS])


def _is_canary(nodeid):
    # pytest leaves out the path of a file that was asked for by itself and lies outside the root.
    path, _, name = nodeid.rpartition("::")
    return name in CANARY and (not path or path.endswith("vsc_canary.py"))


def _calls_plainly(item):
    """Whether pytest itself calls this one.

    Event loops have their own way with coroutines, and unittest with its cases.
    """
    if not isinstance(item, pytest.Function) or isinstance(item, TestCaseFunction):
        return False
    return not (inspect.iscoroutinefunction(item.obj) or inspect.isasyncgenfunction(item.obj))


def _truth(raised, when, report):
    if hasattr(report, "wasxfail"):
        return (
            "xfailed"
            if report.outcome == "skipped"
            else "xpassed"
            if report.outcome == "passed"
            else "failed"
        )
    if (
        raised is not None
        and not raised.errisinstance((pytest.skip.Exception,))
        and report.outcome != "skipped"
    ):
        return "failed" if when == "call" else "error"
    if report.outcome == "failed":
        return "failed" if when == "call" else "error"
    return "skipped" if raised is not None or report.outcome == "skipped" else "passed"


def _text(raised, report):
    try:
        return str(report.longreprtext) or (raised.exconly() if raised is not None else "")
    except Exception as error:  # noqa: BLE001 -- the judged code's __repr__ may raise anything
        return f"(no text: {type(error).__name__})"


def _foreign(modules, workspace, roots):
    """Modules of the judged project that were loaded from somewhere else.

    A namespace (`google`) is shared with others: of it, only what the project has too. A copy that
    it makes of the standard library's is its own doing (`zipp.compat.overlay.zipfile`).
    """
    wanted = set(modules)
    shared = {
        name
        for name in wanted
        if not any(os.path.exists(os.path.join(root, name, "__init__.py")) for root in roots)
        and not any(os.path.exists(os.path.join(root, name + ".py")) for root in roots)
    }
    found = []
    for name, module in sorted(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        if (
            name.partition(".")[0] in wanted
            and isinstance(origin, str)
            and not origin.startswith(workspace + os.sep)
            and not _is_library(origin)
            and (name.partition(".")[0] not in shared or _has(roots, name))
            and not _is_alias(name, module, wanted)
        ):
            found.append([name, origin])
    return found[:100]


def _has(roots, name):
    """Whether the project has a module of that name itself."""
    path = name.replace(".", os.sep)
    return any(
        os.path.exists(os.path.join(root, path + end))
        for root in roots
        for end in (".py", ".pyi", os.sep + "__init__.py")
    )


def _is_library(origin):
    """Whether a file is the standard library's, where nothing is ever installed."""
    folder, file = os.__file__.rpartition(os.sep)[0], os.path.realpath(origin)
    return file.startswith(os.path.realpath(folder) + os.sep) and "-packages" not in file


def _is_alias(name, module, wanted):
    """Whether the project gives a name below its own to a module of somebody else.

    So does `requests.packages.chardet`. The other name must be known, too, and nobody's but theirs.
    """
    own = getattr(getattr(module, "__spec__", None), "name", None)
    return (
        "." in name
        and isinstance(own, str)
        and own.partition(".")[0] not in wanted
        and sys.modules.get(own) is module
    )
