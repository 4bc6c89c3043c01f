"""Evaluates arithmetic expressions of strangers: numbers and operators only, in bounded time and memory."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from simpleeval import InvalidExpression, SimpleEval

LARGEST_EXPONENT = 1000
LARGEST_NUMBER = 1e300


class NoArithmetic(Exception):
    """The text is no arithmetic expression, or its value is no real number."""


def evaluate(expression: str) -> int | float:
    """The value of an expression with + - * / // % ** and parentheses.

    Raises NoArithmetic, ZeroDivisionError, and OverflowError for an exponent above LARGEST_EXPONENT or a number above
    LARGEST_NUMBER, also in between.
    """
    try:
        tree = ast.parse(expression, mode="eval")
        value: int | float = _Arithmetic().eval(expression, tree.body)
    except (InvalidExpression, SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise NoArithmetic from error
    return value


def _bounded(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NoArithmetic
    if abs(value) > LARGEST_NUMBER:
        raise OverflowError
    return value


def _power(base: Any, exponent: Any) -> Any:
    if abs(exponent) > LARGEST_EXPONENT:
        raise OverflowError
    return base**exponent


def _within_bounds(apply: Callable[..., Any]) -> Callable[..., int | float]:
    def bounded(*operands: int | float) -> int | float:
        return _bounded(apply(*operands))

    return bounded


_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_BOUNDED_OPERATORS = {kind: _within_bounds(apply) for kind, apply in _OPERATORS.items()}


class _Arithmetic(SimpleEval):  # type: ignore[misc]  # simpleeval has no types
    """simpleeval without names, calls, attributes, subscripts, comparisons and formatted strings."""

    def __init__(self) -> None:
        super().__init__(operators=_BOUNDED_OPERATORS, functions={}, names={})
        self.nodes = {ast.BinOp: self._eval_binop, ast.UnaryOp: self._eval_unaryop, ast.Constant: self._number}

    def _number(self, node: ast.Constant) -> int | float:
        return _bounded(node.value)
