"""The condition language of policy rules: `amount > 10000 and currency in ['EUR', 'USD']`.

Names are the action's arguments (`invoice.total`, `lines[0].price`), compared
with text, numbers, lists, `true`, `false` and `null`, joined by `and`, `or` and
`not`, with `+ - * /` on numbers. It is parsed once, by a whitelist over Python's
grammar, and never evaluated as Python: no calls, no attributes of objects.

A condition is true, false, or unknown (Kleene's logic): unknown when an argument
is missing or of a kind that cannot be compared. Who asks decides what unknown
means. Numbers are compared as decimals, and text that is a number counts as one
beside a number, since models write amounts both ways.
"""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, DecimalException
from typing import Any, Final

from .errors import PolicyError

_LONGEST = 2000
_MOST_NODES = 200


class _Unknown:
    def __repr__(self) -> str:
        return "unknown"


UNKNOWN: Final = _Unknown()

_Value = Callable[[Mapping[str, Any]], Any]

_CONSTANTS = {"true": True, "false": False, "null": None}
_ORDER: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Condition:
    """A parsed condition; `holds(arguments)` is True, False or None for unknown."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._test = _parse(text)

    def holds(self, arguments: Mapping[str, Any]) -> bool | None:
        """Whether the condition is true of `arguments`; None when that is unknown."""
        value = self._test(arguments)
        return None if value is UNKNOWN else value is True

    def __repr__(self) -> str:
        return f"Condition({self.text!r})"


def _parse(text: str) -> _Value:
    if len(text) > _LONGEST:
        raise PolicyError(f"the condition is longer than {_LONGEST} characters", condition=text)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        told = getattr(error, "msg", None) or "it cannot be read"
        raise PolicyError(
            f'the condition {text!r} is not one: {told}; write it as in "amount > 10000"',
            condition=text,
        ) from None
    if sum(1 for _ in ast.walk(tree)) > _MOST_NODES:
        raise PolicyError(f"the condition has more than {_MOST_NODES} parts", condition=text)
    return _truth(tree.body, text)


def _truth(node: ast.expr, text: str) -> _Value:
    """The part `node` as something true, false or unknown."""
    if isinstance(node, ast.BoolOp):
        parts = [_truth(part, text) for part in node.values]
        return _all(parts) if isinstance(node.op, ast.And) else _any(parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _truth(node.operand, text)

        def negated(arguments: Mapping[str, Any]) -> Any:
            value = inner(arguments)
            return UNKNOWN if value is UNKNOWN else not value

        return negated
    if isinstance(node, ast.Compare):
        return _comparison(node, text)
    plain = _value(node, text)

    def boolean(arguments: Mapping[str, Any]) -> Any:
        value = plain(arguments)
        return value if isinstance(value, bool) else UNKNOWN

    return boolean


def _all(parts: Sequence[_Value]) -> _Value:
    def test(arguments: Mapping[str, Any]) -> Any:
        values = [part(arguments) for part in parts]
        if any(value is False for value in values):
            return False
        return UNKNOWN if any(value is UNKNOWN for value in values) else True

    return test


def _any(parts: Sequence[_Value]) -> _Value:
    def test(arguments: Mapping[str, Any]) -> Any:
        values = [part(arguments) for part in parts]
        if any(value is True for value in values):
            return True
        return UNKNOWN if any(value is UNKNOWN for value in values) else False

    return test


def _comparison(node: ast.Compare, text: str) -> _Value:
    values = [_value(part, text) for part in (node.left, *node.comparators)]
    tests = [_relation(op, text) for op in node.ops]

    def pair(index: int) -> _Value:
        return lambda arguments: tests[index](
            values[index](arguments), values[index + 1](arguments)
        )

    return _all([pair(index) for index in range(len(tests))])


def _relation(op: ast.cmpop, text: str) -> Callable[[Any, Any], Any]:
    if type(op) in _ORDER:
        order = _ORDER[type(op)]
        return lambda left, right: _ordered(order, left, right)
    if isinstance(op, (ast.Eq, ast.NotEq)):
        wanted = isinstance(op, ast.Eq)
        return lambda left, right: _flip(_equal(left, right), wanted)
    if isinstance(op, (ast.In, ast.NotIn)):
        wanted = isinstance(op, ast.In)
        return lambda left, right: _flip(_within(left, right), wanted)
    raise _refused("'is'", text)


def _value(node: ast.expr, text: str) -> _Value:
    """The part `node` as a value: a constant, an argument, a list or a sum."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float, type(None))):
        constant = node.value
        return lambda arguments: constant
    if isinstance(node, ast.Name):
        name = node.id
        if name in _CONSTANTS:
            named = _CONSTANTS[name]
            return lambda arguments: named
        return lambda arguments: arguments.get(name, UNKNOWN)
    if isinstance(node, ast.Attribute):
        return _part(_value(node.value, text), node.attr)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        key = node.slice.value
        if isinstance(key, (str, int)):
            return _part(_value(node.value, text), key)
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_value(item, text) for item in node.elts]
        return lambda arguments: [item(arguments) for item in items]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _sum(operator.sub, lambda arguments: 0, _value(node.operand, text))
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        return _sum(_ARITHMETIC[type(node.op)], _value(node.left, text), _value(node.right, text))
    raise _refused(_said(node), text)


def _part(inner: _Value, key: str | int) -> _Value:
    def part(arguments: Mapping[str, Any]) -> Any:
        value = inner(arguments)
        if isinstance(value, Mapping) and isinstance(key, str):
            return value.get(key, UNKNOWN)
        if isinstance(value, list) and isinstance(key, int) and 0 <= key < len(value):
            return value[key]
        return UNKNOWN

    return part


def _sum(combine: Callable[[Decimal, Decimal], Decimal], left: _Value, right: _Value) -> _Value:
    def total(arguments: Mapping[str, Any]) -> Any:
        one, other = _number(left(arguments)), _number(right(arguments))
        if one is None or other is None:
            return UNKNOWN
        try:
            return combine(one, other)
        except DecimalException:
            return UNKNOWN

    return total


def _number(value: Any) -> Decimal | None:
    """`value` as a decimal; text counts when it is nothing but a number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, Decimal):
        return value
    if isinstance(value, (int, float, str)):
        try:
            number = Decimal(str(value).strip())
        except (DecimalException, ValueError):
            return None
        return None if number.is_nan() else number
    return None


def _ordered(order: Callable[[Any, Any], bool], left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        return order(left, right)
    one, other = _number(left), _number(right)
    return UNKNOWN if one is None or other is None else order(one, other)


def _equal(left: Any, right: Any) -> Any:
    if left is UNKNOWN or right is UNKNOWN:
        return UNKNOWN
    if isinstance(left, str) != isinstance(right, str) or not isinstance(left, str):
        one, other = _number(left), _number(right)
        if one is not None and other is not None:
            return one == other
    if isinstance(left, list) and isinstance(right, list):
        if len(left) != len(right):
            return False
        pairs = [_equal(one, other) for one, other in zip(left, right, strict=True)]
        return False if False in pairs else UNKNOWN if UNKNOWN in pairs else True
    return type(left) is type(right) and left == right


def _within(item: Any, container: Any) -> Any:
    if item is UNKNOWN or container is UNKNOWN:
        return UNKNOWN
    if isinstance(container, str):
        return item in container if isinstance(item, str) else UNKNOWN
    if isinstance(container, Mapping):
        return item in container if isinstance(item, str) else UNKNOWN
    if not isinstance(container, list):
        return UNKNOWN
    found = [_equal(item, each) for each in container]
    return True if True in found else UNKNOWN if UNKNOWN in found else False


def _flip(value: Any, wanted: bool) -> Any:
    return value if value is UNKNOWN or wanted else not value


def _said(node: ast.expr) -> str:
    names = {ast.Call: "a call", ast.Lambda: "a function", ast.Dict: "a mapping"}
    return names.get(type(node), f"{ast.unparse(node)!r}")


def _refused(what: str, text: str) -> PolicyError:
    return PolicyError(
        f"the condition {text!r} uses {what}; it may compare arguments with <, <=, >, >=, ==, !=, "
        "in, and join with and, or, not",
        condition=text,
    )
