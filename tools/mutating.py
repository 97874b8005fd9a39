"""How code is weakened for `mutants`: each mutant is one change of one module."""

from __future__ import annotations

import ast
import copy
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_OTHER: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}

_WORDS = re.compile(r"[A-Z0-9]\w+( [A-Z0-9]\w+)+")
"""A list of names in one text, such as codes of errors."""


@dataclass(frozen=True)
class Mutant:
    """One change of a module.

    :param module: its path in the package.
    :param line: where.
    :param was: the code there.
    :param now: what it is changed to.
    :param number: which one of the module's.
    :param in_table: it is a line of a table or of a class, not of a function.
    """

    module: str
    line: int
    was: str
    now: str
    number: int
    in_table: bool

    @property
    def name(self) -> str:
        """What is printed, and what a line of the list of equivalent ones begins with; lines move, code stays."""
        return f"{self.module}: {self.was}  →  {self.now}"


def mutants_of(module: str, source: str) -> Iterator[Mutant]:
    """Yield every change of a module.

    :param module: its path in the package.
    :param source: its text.
    """
    for number, (parent, node, other, in_table) in enumerate(_changes(ast.parse(source))):
        was, now = _shown(node, other)
        yield Mutant(module, getattr(node, "lineno", 0), f"{_named(parent, node)}{was}", now, number, in_table)


def changed(source: str, number: int) -> str:
    """Return a module with a change.

    :param source: its text.
    :param number: of the mutant.
    """
    tree = ast.parse(source)
    next(itertools.islice(_changes(tree), number, None))
    return ast.unparse(ast.fix_missing_locations(tree))


def _changes(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.AST, ast.AST, bool]]:
    """Make every change of a tree, one after the other: each holds until the next one is asked for."""
    for parent, field, index, node, in_table in _places(tree, in_table=True):
        for other in _weaker(node):
            _put(parent, field, index, other)
            yield parent, node, other, in_table
            _put(parent, field, index, node)


def _named(parent: ast.AST, value: ast.AST) -> str:
    """Return what a value is given to, as code has it in front of the value; a line of a table says enough."""
    match None if isinstance(value, ast.Dict) else parent:
        case ast.keyword(str(name)):
            return f"{name}="
        case ast.Assign([target]) | ast.AnnAssign(target):
            return f"{ast.unparse(target)} = "
    return ""


def _shown(node: ast.AST, other: ast.AST) -> tuple[str, str]:
    """Return what the code was, and what it is changed to; of a table that lacks a line that line alone."""
    if isinstance(node, ast.Dict) and isinstance(other, ast.Dict):
        (at,) = (at for at, value in enumerate(node.values) if value not in other.values)
        key = node.keys[at]
        return f"{ast.unparse(key) if key else '**'}: {ast.unparse(node.values[at])}", "left out"
    was, now = (ast.unparse(one).partition("\n")[0] for one in (node, other))
    return was, "left out" if now == was else now


def _places(parent: ast.AST, *, in_table: bool) -> Iterator[tuple[ast.AST, str, int | None, ast.AST, bool]]:
    """Yield each node that may be changed, with its place; annotations, decorators and texts for people stay."""
    for field, value in ast.iter_fields(parent):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for index, node in enumerate(value) if isinstance(value, list) else ((None, value),):
            if isinstance(node, ast.AST) and not _for_people(node):
                within = in_table and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                yield parent, field, index, node, within
                yield from _places(node, in_table=within)


def _for_people(node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr() | ast.Expr(ast.Constant()) | ast.If(ast.Name("TYPE_CHECKING")):
            return True
    return False


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _weaker(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in a node's place."""
    yield from (_of_condition(node) if isinstance(node, ast.expr) else _of_statement(node))
    yield from _of_constant(node)
    match node:
        case ast.BinOp(left, ast.Add() | ast.Sub() as sign, right):
            yield ast.BinOp(left, ast.Sub() if isinstance(sign, ast.Add) else ast.Add(), right)
        case ast.Call(ast.Name("min" | "max" as name), arguments, keywords):
            yield ast.Call(ast.Name("max" if name == "min" else "min"), arguments, keywords)
        case ast.Call(ast.Attribute(attr="fromkeys") as called, [ast.Tuple(elements), *more], []):
            yield from (ast.Call(called, [ast.Tuple(rest), *more], []) for rest in _rests(elements))
        case ast.Call(called, arguments, keywords) if not _builds_error(called):
            yield from (ast.Call(called, arguments, rest) for rest in _rests(keywords))
        case ast.Set(elements) if len(elements) > 1:
            yield from (ast.Set(rest) for rest in _rests(elements))
        case ast.Dict(keys, values):
            yield from (ast.Dict(*rest) for rest in zip(_rests(keys), _rests(values), strict=True))


def _of_constant(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(float(value)):
            yield ast.Constant(value * 10 or 1.0)
        case ast.Constant(str(value)) if _WORDS.fullmatch(value):
            yield from (ast.Constant(" ".join(rest)) for rest in _rests(value.split()))


def _of_condition(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(left, [operator], right) if type(operator) in _OTHER:
            yield ast.Compare(left, [_OTHER[type(operator)]()], right)
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
            for rest in _rests(values):
                yield rest[0] if len(rest) == 1 else ast.BoolOp(operator, rest)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.IfExp(_, body, orelse):
            yield from (body, orelse)


def _of_statement(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.If(_, body, []):
            yield from (ast.If(ast.Constant(held), body, []) for held in (True, False))
        case ast.match_case(pattern, guard, body):
            if not isinstance(body[0], ast.Expr):  # that is left out by itself
                yield ast.match_case(pattern, guard, [ast.Pass()])
            if guard:
                yield ast.match_case(pattern, None, body)
        case ast.Expr(ast.Call() | ast.Yield() | ast.YieldFrom() | ast.Await()) | ast.Raise():
            yield ast.Pass()
        case ast.ClassDef(keywords=keywords) if any(one.arg == "reason" for one in keywords):
            for some in _of_error(keywords):
                other = copy.copy(node)
                other.keywords = some
                yield other


def _of_error(keywords: list[ast.keyword]) -> Iterator[list[ast.keyword]]:
    """Yield what else may be said of an error: how far it reaches or what helps left out, or another thing helps."""
    said = {one.arg: ast.unparse(one.value) for one in keywords}
    for name in {"scope", "remedy"} & said.keys():
        yield [one for one in keywords if one.arg != name]
    other = "Remedy.RETRY" if said.get("remedy") == "Remedy.NEW_TASK" else "Remedy.NEW_TASK"
    remedy = ast.keyword("remedy", ast.parse(other, mode="eval").body)
    yield [*(one for one in keywords if one.arg != "remedy"), remedy]


def _rests(values: list[Any]) -> Iterator[list[Any]]:
    """Yield a list without each of its members."""
    return ([*values[:at], *values[at + 1 :]] for at in range(len(values)))


def _builds_error(called: ast.expr) -> bool:
    return isinstance(called, ast.Attribute) and called.attr.startswith("Kie")
