"""The tools of the ready graph ``agent``, for tasks that language models are bad at.

They work offline. A tool that fails raises ``ValueError``. ``ToolNode`` passes the message to the
model, so the message says what would have worked.
"""

from __future__ import annotations

import ast
import difflib
import math
import operator
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from langchain_core.tools import tool

__all__ = ["TOOLS", "calculate", "count_letters", "current_time"]


@tool
def calculate(expression: str) -> str:
    """Work out an arithmetic expression, such as "12 * (3 + 4)" or "sqrt(2)"."""
    if len(expression) > _LONGEST:
        raise ValueError(f"the expression is too long: at most {_LONGEST} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except SyntaxError:
        raise ValueError(f"{expression!r} is not arithmetic: write it like 12 * (3 + 4)") from None
    value = _value(tree.body)
    result = f"{value:.12g}" if isinstance(value, float) else str(value)
    return f"{expression.strip()} = {result}"


@tool
def current_time(timezone: str = "UTC") -> str:
    """Tell the date and time in a time zone or a city, such as "Europe/Paris" or "Tokyo"."""
    zone = _zone(timezone)
    now = datetime.now(ZoneInfo(zone))
    return f"{now:%A, %d %B %Y, %H:%M} in {zone.replace('_', ' ')}"


@tool
def count_letters(text: str, letter: str) -> str:
    """Count how often a letter occurs in a word or a text."""
    times = text.lower().count(letter.lower()) if letter else len(text)
    return f"{letter!r} occurs {times} times in {text!r}"


TOOLS = [calculate, current_time, count_letters]

_LONGEST = 200
_MOST_BITS = 10_000
"""The size of the largest number. Without it, two powers in an expression could exhaust memory."""

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitXor: operator.pow,  # 2^10, as people write it
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "max": max,
    "min": min,
    "round": round,
    "sqrt": math.sqrt,
}
_CONSTANTS = {"pi": math.pi, "e": math.e}


def _value(node: ast.AST) -> Any:
    """The value of an expression that holds only what is allowed here. Never ``eval``."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _combined(_OPERATORS[type(op)], _value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*map(_value, args))
    known = ", ".join([*_FUNCTIONS, *_CONSTANTS])
    raise ValueError(
        f"cannot work out {ast.unparse(node)!r}: use numbers, + - * / // % **, {known}"
    )


def _combined(combine: Callable[..., Any], left: Any, right: Any) -> Any:
    powers = combine is operator.pow and isinstance(left, int) and isinstance(right, int)
    if powers and left.bit_length() * right > _MOST_BITS:
        raise ValueError(f"{right} is too large an exponent")
    try:
        return combine(left, right)
    except ZeroDivisionError:
        raise ValueError("that divides by zero") from None
    except OverflowError:
        raise ValueError("the result is too large") from None


def _zone(name: str) -> str:
    """The time zone of this name, or of this city."""
    zones = available_timezones()
    if not zones:
        raise ValueError("this computer has no time zone data: pip install tzdata")
    wanted = name.strip().replace(" ", "_").casefold()
    for zone in sorted(zones):
        if wanted in (zone.casefold(), zone.casefold().rpartition("/")[2]):
            return zone
    near = difflib.get_close_matches(name, zones, 3, cutoff=0.5)
    raise ValueError(f"no time zone {name!r}; there is {', '.join(near) or 'Europe/Paris'}")
