"""Which lines of a module do not run here unless somebody turns the world: read from its text.

Branches for another version of Python, another system or a type checker (`sys.version_info`,
`sys.platform`, `os.name`, `sys.implementation.name`, `TYPE_CHECKING`), and bodies that are nothing
but `...`. The judge's sandboxes run CPython on Linux.
"""

import ast
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

Version = tuple[int, int]
_PLATFORM = "linux"
_MODULES: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "typing": {"TYPE_CHECKING": False},
        "sys": {"platform": _PLATFORM},
        "os": {"name": "posix"},
    }
)
"""What is known of a module's names, beside `sys.version_info` and `sys.implementation.name`."""
_Compare = Callable[[Any, Any], object]
_COMPARISONS: Mapping[type[ast.cmpop], _Compare] = MappingProxyType(
    {
        ast.Eq: operator.eq,
        ast.NotEq: operator.ne,
        ast.Lt: operator.lt,
        ast.LtE: operator.le,
        ast.Gt: operator.gt,
        ast.GtE: operator.ge,
    }
)


def unrunnable(source: bytes, python: Version | None) -> frozenset[int]:
    """Numbers of such lines. `python`: the interpreter's version; None: it is not known.

    Empty where the module cannot be parsed.
    """
    try:
        tree = ast.parse(source)
        reader = _Reader(_imported(tree), _constants(tree), python)
        return frozenset(reader.of_block(tree.body))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()


class _Unknown(Exception):
    """The value depends on what runs."""


@dataclass(frozen=True, slots=True)
class _Running:
    """`sys.version_info`: more is behind the two numbers that are known."""

    version: Version

    def against(self, compare: _Compare, other: object) -> object:
        """As a tuple with an unknown end compares. Raises _Unknown."""
        if not isinstance(other, tuple):
            raise _Unknown
        mine, theirs = self.version, other[:2]
        if mine[: len(theirs)] != theirs:
            return compare(mine, theirs)
        if len(other) > len(mine):
            raise _Unknown
        return compare((*theirs, 0), theirs)  # the longer of two that begin alike is the greater


class _Reader:
    """Walks statements and leaves out branches that are not taken."""

    def __init__(
        self, names: Mapping[str, str], constants: Mapping[str, ast.expr], python: Version | None
    ) -> None:
        self._names, self._constants, self._python = names, constants, python

    def of_block(self, body: Sequence[ast.stmt]) -> Iterator[int]:
        for statement in body:
            yield from self._of(statement)

    def _of(self, statement: ast.stmt) -> Iterator[int]:
        if isinstance(statement, ast.If):
            taken = self._decided(statement.test)
            after = statement.test.end_lineno or statement.lineno
            for block, runs in ((statement.body, taken), (statement.orelse, _negated(taken))):
                if runs is not False:
                    yield from self.of_block(block)
                else:  # the test itself runs, and may do so on a line of the block
                    yield from (line for line in _lines(block) if line > after)
            return
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and _is_stub(statement):
            yield statement.body[-1].lineno
            return
        for child in ast.iter_child_nodes(statement):
            if isinstance(child, ast.stmt):
                yield from self._of(child)
            elif isinstance(child, ast.ExceptHandler | ast.match_case):
                yield from self.of_block(child.body)

    def _decided(self, test: ast.expr) -> bool | None:
        try:
            return bool(self._value(test))
        except _Unknown:
            return None

    def _value(self, node: ast.expr) -> object:
        match node:
            case ast.Constant():
                found: object = node.value
            case ast.Tuple():
                found = tuple(map(self._value, node.elts))
            case ast.UnaryOp(op=ast.Not()):
                found = not self._value(node.operand)
            case ast.BoolOp():
                found = self._joined(node)
            case ast.Compare(ops=[one], comparators=[right]):
                found = self._compared(type(one), self._value(node.left), self._value(right))
            case ast.Subscript():
                found = self._part(self._value(node.value), node.slice)
            case ast.Call(func=ast.Attribute(value=text, attr="startswith"), args=[start]):
                found = self._starts(self._value(text), self._value(start))
            case ast.Name(id=name) if name in self._constants:
                found = self._value(self._constants[name])
            case _:
                found = self._known(self._dotted(node))
        return found

    def _joined(self, node: ast.BoolOp) -> bool:
        decides = isinstance(node.op, ast.Or)
        values = [self._decided(value) for value in node.values]
        if decides in values:
            return decides
        if None in values:
            raise _Unknown
        return not decides

    @staticmethod
    def _compared(kind: type[ast.cmpop], left: object, right: object) -> object:
        if kind not in _COMPARISONS:
            raise _Unknown
        compare = _COMPARISONS[kind]
        try:
            if isinstance(left, _Running):
                return left.against(compare, right)
            if isinstance(right, _Running):
                return right.against(lambda mine, theirs: compare(theirs, mine), left)
            return compare(left, right)
        except TypeError as error:
            raise _Unknown from error

    def _part(self, whole: object, part: ast.expr) -> object:
        if not isinstance(whole, _Running):
            raise _Unknown
        match part:
            case ast.Constant(value=int(at)) if at in {0, 1}:
                return whole.version[at]
            case ast.Slice(
                lower=None | ast.Constant(value=0), step=None, upper=ast.Constant(value=int(end))
            ) if end in {
                1,
                2,
            }:
                return whole.version[:end]
        raise _Unknown

    @staticmethod
    def _starts(text: object, start: object) -> bool:
        if isinstance(text, str) and isinstance(start, str):
            return text.startswith(start)
        raise _Unknown

    def _dotted(self, node: ast.expr) -> str:
        """The full name of what an expression names: `s.platform` after `import sys as s`."""
        match node:
            case ast.Name():
                return self._names.get(node.id, "")
            case ast.Attribute():
                return f"{self._dotted(node.value)}.{node.attr}"
        raise _Unknown

    def _known(self, name: str) -> object:
        module, _, rest = name.partition(".")
        if module == "sys" and rest == "implementation.name":
            return "cpython"
        if module == "sys" and rest.startswith("version_info") and self._python is not None:
            parts = {"": _Running(self._python), ".major": self._python[0]}
            parts[".minor"] = self._python[1]
            if (part := rest.removeprefix("version_info")) in parts:
                return parts[part]
        if rest in _MODULES.get(module, {}):
            return _MODULES[module][rest]
        raise _Unknown


def _imported(tree: ast.Module) -> dict[str, str]:
    """Names that an import binds, and nothing else: name -> full name.

    A name that anything else binds anywhere in the module means whatever it likes; after a star
    import each one may.
    """
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                full = alias.name if alias.asname else first
                found.setdefault(alias.asname or first, set()).add(full)
        elif isinstance(node, ast.ImportFrom):
            module = "." if node.level else node.module
            for alias in node.names:
                found.setdefault(alias.asname or alias.name, set()).add(f"{module}.{alias.name}")
    others = _bound(tree)
    if "*" in found:
        return {}
    return {
        name: next(iter(full))
        for name, full in found.items()
        if len(full) == 1 and name not in others
    }


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Names that the module binds once, at its top, to what can be decided: `PY3 = ...`.

    `TYPE_CHECKING = False` is what type checkers take for theirs. Any other plain value is a
    switch, which tests may turn.
    """
    others, imported = _bound(tree), _imported(tree)
    return {
        name: value
        for statement in tree.body
        for name, value in _assigned(statement)
        if others[name] == 1 and name not in imported
    }


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    match statement:
        case ast.Assign(targets=[ast.Name(id="TYPE_CHECKING" as name)], value=value):
            if not isinstance(value, ast.Constant) or value.value is False:
                yield name, value
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            if not isinstance(value, ast.Constant):
                yield name, value


def _bound(tree: ast.Module) -> Counter[str]:
    """How often each name is bound, imports apart."""
    return Counter(name for node in ast.walk(tree) for name in _others(node))


def _others(node: ast.AST) -> Iterator[str]:
    """Names that a node binds in another way than by an import."""
    match node:
        case ast.Name(ctx=ast.Store() | ast.Del()):
            yield node.id
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
        case ast.arg():
            yield node.arg
        case (
            ast.ExceptHandler(name=str(name))
            | ast.MatchAs(name=str(name))
            | ast.MatchStar(name=str(name))
            | ast.MatchMapping(rest=str(name))
        ):
            yield name
        case ast.Attribute(ctx=ast.Store() | ast.Del(), value=ast.Name(id=name)):
            yield name  # what is written to `sys` is not what the interpreter says


def _is_stub(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Its body is `...`, after a docstring at most."""
    *before, last = function.body
    return (
        isinstance(last, ast.Expr)
        and isinstance(last.value, ast.Constant)
        and last.value.value is Ellipsis
        and last.lineno > _head_ends(function)
        and len(before) <= 1
        and all(isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) for one in before)
    )


def _head_ends(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The last line of what runs when the function is made: defaults, annotations, decorators."""
    arguments = [function.args, function.returns, *function.decorator_list]
    parts = [node for one in arguments if one is not None for node in ast.walk(one)]
    return max((function.lineno, *(getattr(node, "end_lineno", 0) or 0 for node in parts)))


def _negated(value: bool | None) -> bool | None:
    return None if value is None else not value


def _lines(block: Sequence[ast.stmt]) -> Iterator[int]:
    for statement in block:
        first = min((statement.lineno, *(d.lineno for d in _decorators(statement))))
        yield from range(first, (statement.end_lineno or statement.lineno) + 1)


def _decorators(statement: ast.stmt) -> Sequence[ast.expr]:
    return getattr(statement, "decorator_list", [])
