"""Values to be given to every argument: usual ones by the argument's name, and hostile ones.

Each is made anew when it is needed: generators run out, and some values hold themselves.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import math
import types
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from dir_redis import Claim, ClaimState

Make = Callable[[], Any]


class HostileError(Exception):
    """What hostile objects raise: the caller's own error, which may reach the caller."""


def _raise(*_args: Any, **_named: Any) -> Any:
    raise HostileError


class RaisingStr(str):
    __slots__ = ()
    __str__ = __repr__ = __eq__ = __hash__ = __len__ = __iter__ = __format__ = _raise
    encode = isascii = startswith = _raise


class LyingStr(str):
    """It says it is empty, equal to all, and another text."""

    __slots__ = ()

    def __str__(self) -> str:
        return "witness"

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("ERROR")

    def __len__(self) -> int:
        return 0

    def encode(self, *_args: Any) -> bytes:  # type: ignore[override]
        return b"witness"

    def isascii(self) -> bool:
        return True


class RaisingInt(int):
    __str__ = __repr__ = __eq__ = __hash__ = __lt__ = __le__ = __gt__ = __ge__ = _raise
    __int__ = __index__ = __float__ = __bool__ = __neg__ = __format__ = __round__ = _raise
    __add__ = __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = _raise


class LyingInt(int):
    def __int__(self) -> int:
        return 2**200

    __index__ = __int__

    def __float__(self) -> float:
        return math.nan

    def __le__(self, other: object) -> bool:
        return True

    __lt__ = __ge__ = __gt__ = __le__

    def __str__(self) -> str:
        return "\r\n*1\r\n$8\r\nFLUSHALL\r\n"

    __repr__ = __str__


class RaisingFloat(float):
    __str__ = __repr__ = __eq__ = __hash__ = __lt__ = __le__ = __gt__ = __ge__ = _raise
    __float__ = __int__ = __round__ = __bool__ = __format__ = __mul__ = __rmul__ = _raise
    __add__ = __radd__ = __sub__ = __rsub__ = as_integer_ratio = is_integer = _raise


class LyingFloat(float):
    def __float__(self) -> float:
        return math.inf

    def __le__(self, other: object) -> bool:
        return True

    __lt__ = __ge__ = __gt__ = __le__

    def __repr__(self) -> str:
        return "-1"

    __str__ = __repr__

    def __round__(self, *_args: Any) -> Any:
        return -1


class LyingDecimal(Decimal):
    def __lt__(self, other: object) -> bool:
        return False

    def is_finite(self) -> bool:
        return True

    def quantize(self, *_args: Any, **_named: Any) -> Decimal:
        return Decimal(-1)

    def __str__(self) -> str:
        return "-1"


class RaisingDict(dict):  # type: ignore[type-arg]
    items = keys = values = __iter__ = __len__ = __getitem__ = __contains__ = get = _raise


class LyingDict(dict):  # type: ignore[type-arg]
    """It hands out something else at every look, and its length is not that of what it has."""

    looks = 0

    def items(self) -> Any:
        self.looks += 1
        return [("r", self.looks), ("r", -self.looks), ("s",)][: self.looks]

    def __len__(self) -> int:
        return 10**9

    def keys(self) -> Any:
        return ["r", 7, None]


class MappingThatRaises(collections.abc.Mapping):  # type: ignore[type-arg]
    __getitem__ = __iter__ = __len__ = _raise


class RaisingStrOf:
    __str__ = __repr__ = _raise


class LongStrOf:
    def __str__(self) -> str:
        return "y" * 2**24


class NumberLike:
    """As numpy's scalars: a number by its methods, registered nowhere."""

    dtype = "float64"

    def __float__(self) -> float:
        return 1.5

    def __int__(self) -> int:
        return 1

    __index__ = __int__

    def item(self) -> float:
        return 1.5


class ArrayLike(NumberLike):
    shape = (2,)

    def __len__(self) -> int:
        return 2

    def __eq__(self, other: object) -> Any:
        return [True, False]

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")


class Word(enum.StrEnum):
    WORD = "word"


class Number(enum.IntEnum):
    NUMBER = 3


def nested(depth: int, of: str) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value} if of == "dict" else [value]
    return value


def itself_list() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def itself_dict() -> Any:
    value: dict[str, Any] = {"a": 1}
    value["self"] = [value]
    return value


def raising_generator() -> Any:
    yield {"dfid": "f", "event": "E"}
    raise HostileError


TEXTS = [
    *("", "\0", "a\0b", "\ud800", "a\udfff", "\u202eabc", "\ufeff", "\r\n", "😀", "é" * 512),
    *("x" * 1024, "x" * 1025, "é" * 513, "x" * 2**14, "x" * (2**16 + 1), "é" * 2**16),
    *("{dir:0}:meta", "{dir:0}:op:x", "{x}:op:y", "}:op:", "audit", "*", "?", "%s %d {0} {x!r}"),
    *("\r\n*1\r\n$8\r\nFLUSHALL\r\n", "'; return redis.call('FLUSHALL') --", "]]; redis.call()"),
    *(
        "redis.error_reply(1)",
        "DIRCORRUPT 1",
        "WRONGTYPE ",
        "OOM ",
        "BUSY ",
        "NOSCRIPT ",
        "UNBLOCKED",
    ),
    *(
        "'; DROP TABLE agent_registry; --",
        '"',
        "\\",
        "$(id)",
        "AGAIN",
        "LOST",
        "CONFLICT 1",
        "DONE x",
    ),
    *("nan", "NaN", "inf", "-0", "1e400", "0x10", "None", "null", "true", "-1", "0", "  ", "1 2 3"),
    *("0-0", "1-1", "1795485963419-228000", "flow:0-0", "flow:1", "1,1", "0-0,0-0,0-0,0-0,0-0"),
    *("1:" + "0" * 64, "3:" + "f" * 64, "99999999999999999999-1", "5", "9" * 19, "²", "٣"),
    *("2026-01-01 00:00:00", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59.999999+00:00"),
    *("0001-01-01T00:00:00+14:00", "2026-02-30", "2026-W01-1", "2026-01-01T00:00:00-23:59"),
    *("{", "[]", "{}", '{"a": 1}', '"a"', "1", "-1e400", "NaN", '{"a": 1, "a": 2}', '{"a":1}x'),
    *('{"a": "\\ud800"}', '{"\\u0000": "\0"}', "[" * 150 + "]" * 150, "[" * 5000 + "]" * 5000),
    *("9" * 4000, "9" * 5000, '{"' + "k" * 3000 + '": 1}', ' \t\n{"a" : [1 , 2.50] } '),
]
NUMBERS = [
    *(0, 1, -1, 3, 255, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**400),
    *(0.0, -0.0, 0.1, 1.5, 1e-9, 1e-300, 5e-324, 1e15, 1e18, 1e22, 1e300, -1.5),
    *(math.nan, math.inf, -math.inf, True, False, 2j, fractions.Fraction(1, 3)),
    *(fractions.Fraction(10**400), fractions.Fraction(1, 10**400)),
    *(Decimal("0.1"), Decimal("1e999999"), Decimal("-1e999999"), Decimal("1e-999999")),
    *(Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal(1) / 3, Decimal("-0")),
    *(Decimal("9" * 60), Decimal("92233720368.54775807"), Decimal("92233720368.54775808")),
    decimal.Decimal((0, (1,), decimal.MAX_EMAX)),
    decimal.Decimal((0, (1,), decimal.MIN_ETINY)),
]
OBJECTS: list[Make] = [
    *(lambda: None, lambda: object(), lambda: int, lambda: ..., lambda: NotImplemented),
    *(lambda: b"", lambda: b"\xff", lambda: bytearray(b"a"), lambda: memoryview(b"a")),
    *(lambda: [], lambda: (), set, lambda: frozenset("a"), dict, lambda: range(3)),
    *(lambda: RaisingStr("a"), lambda: LyingStr("f"), lambda: Word.WORD, lambda: Number.NUMBER),
    *(lambda: RaisingInt(1), lambda: LyingInt(1), lambda: RaisingFloat(0.001)),
    *(lambda: LyingFloat(0.001), lambda: LyingDecimal("0.5"), NumberLike, ArrayLike),
    *(lambda: RaisingDict(r=1), lambda: LyingDict(r=1), MappingThatRaises),
    *(lambda: {"a": RaisingStrOf()}, lambda: {"a": LongStrOf()}, lambda: {RaisingStrOf(): 1}),
    *(lambda: {"a": RaisingStr("a")}, lambda: {"a": LyingInt(1)}, lambda: {"a": RaisingFloat(1)}),
    *(lambda: {LyingStr("r"): 1}, lambda: {"r": LyingFloat(1)}, lambda: {"r": RaisingInt(1)}),
    *(lambda: {1: 1}, lambda: {1: 1, "a": 2}, lambda: {None: 1}, lambda: {(1,): 1}),
    *(lambda: {True: 1, 1.5: 2}, lambda: {"": 1}, lambda: {"\ud800": 1}, lambda: {"\0": 1}),
    *(lambda: {b"a": 1}, lambda: {"a": b"\xff"}, lambda: {"a": math.nan}, lambda: {"a": 10**5000}),
    *(lambda: {"a": "\ud800"}, lambda: {"a": {1, 2}}, lambda: {"a": datetime.datetime.max}),
    *(lambda: {"a": uuid.UUID(int=1)}, lambda: {"a": Decimal("1e999999")}, lambda: {"a": range(3)}),
    *(
        lambda: {"a": (i for i in [1])},
        raising_generator,
        lambda: iter([]),
        lambda: (x for x in "a"),
    ),
    *(lambda: [raising_generator()], lambda: [1, 2], lambda: ["a"], lambda: [{}], lambda: [None]),
    *(itself_list, itself_dict, lambda: {"a": itself_list()}, lambda: [itself_dict()]),
    *(lambda: nested(150, "dict"), lambda: nested(5000, "dict"), lambda: nested(5000, "list")),
    *(lambda: nested(20_000, "list"), lambda: {"a": nested(20_000, "dict")}),
    *(lambda: {"a": "x" * 2**24}, lambda: "x" * 2**24, lambda: '"' + "é" * 2**23 + '"'),
    *(lambda: ["x"] * 10_001, lambda: dict.fromkeys(map(str, range(10_001)), 1)),
    *(lambda: [{"dfid": "f", "event": RaisingStr("E")}], lambda: [{"dfid": "f", 1: 2}]),
    *(lambda: [{"dfid": "f", "event": "E", "self": 1}], lambda: [LyingDict(dfid="f")]),
    *(
        lambda: [{"dfid": "f", "event": "E"}, {"dfid": "\ud800", "event": "E"}],
        lambda: [RaisingDict()],
    ),
    *(
        lambda: {"r": Decimal("sNaN")},
        lambda: {"r": True},
        lambda: {"r": "1"},
        lambda: {"r": 10**400},
    ),
    *(lambda: types.SimpleNamespace(dfid="f"), lambda: intent(intent_payload=RaisingDict())),
    *(lambda: intent(dfid=LyingStr("f")), lambda: intent(signature=b""), lambda: intent(dfid="")),
    *(lambda: Claim("k", ClaimState.NEW), lambda: Claim("k", ClaimState.NEW, token=10**400)),
    *(lambda: Claim(7, ClaimState.NEW, token=1), lambda: Claim("k", "NEW", token=1)),
    *(lambda: Claim("k", ClaimState.NEW, token=-1), lambda: Claim("k", ClaimState.DONE)),
    *(
        lambda: {"f": None},
        lambda: {"ACTIVE": 7},
        lambda: {7: {"ACTIVE"}},
        lambda: {"ACTIVE": "CLOSED"},
    ),
    *(lambda: _raise, lambda: lambda _claim: itself_dict(), lambda: lambda _claim: RaisingStrOf()),
    *(lambda: lambda: 1, lambda: lambda _claim: {"done": 1}, lambda: datetime.datetime.max),
]


def intent(**fields: Any) -> Any:
    """What the ledger takes."""
    defaults = {"dfid": "f", "intent_payload": {"a": 1}, "context_ref": "c", "evidence_hash": "e"}
    return types.SimpleNamespace(**{**defaults, "signature": None, **fields})


HOSTILE: list[Make] = [
    *((lambda text=text: text) for text in TEXTS),
    *((lambda number=number: number) for number in NUMBERS),
    *OBJECTS,
]

IDS = ["f", "g", "a", "{dir:0}:meta", "a:b", "é", "x" * 100, "\0", "r", "k"]
WORDS = ["ACTIVE", "SUSPENDED", "CREATED", "ABORTED", "", "é", "a b", "t"]
DOCUMENTS = ["{}", '{"a": 1}', "", '{"a": {"b": [1, 2]}, "é": "é"}', '["a"]', "1"]
DICTS: list[Any] = [{}, {"a": 1}, {"a": {"b": [1, None]}, "é": "é"}, {"a": 0.1, "b": "x" * 2000}]
AMOUNTS: list[Any] = [0, 1, 0.1, Decimal("2.5"), 7, 10**9]
SECONDS = [0.001, 0.5, 30, 3600.0, 86_400]
SHORT = [0, 0.0, 0.001, 0.002]
CURSORS = ["", "0-0", "1", None]
TOKENS = [0, 1, 2, 7]
COUNTS = [0, 1, 2, 3, 100]
FLAGS = [True, False]
BATCHES: list[Any] = [{}, {"r": 1}, {"r": 0.1, "s": 2}, {"r": 0}]

_USUAL: dict[str, list[Any]] = {
    **dict.fromkeys(("dfid", "agent_id", "resource_id", "exclude_dfid", "root_dfid", "key"), IDS),
    **dict.fromkeys(("owner", "reviewer", "group"), IDS),
    **dict.fromkeys(("status", "suspension_reason", "agent_version", "session_token"), WORDS),
    **dict.fromkeys(("event", "step_id", "state", "failed_step", "reason", "impact"), WORDS),
    **dict.fromkeys(("resolved_at", "decision", "from_status", "to_status", "expected"), WORDS),
    **dict.fromkeys(("to", "fingerprint", "default_decision", "by"), WORDS),
    **dict.fromkeys(("cursor", "after"), CURSORS),
    "anchor": [None, "0:" + "0" * 64],
    "severity": ["INFO", "ERROR", "x"],
    **dict.fromkeys(("contract_json", "partial_state_json", "context_json"), DOCUMENTS),
    **dict.fromkeys(("proposal_json", "data_json"), DOCUMENTS),
    **dict.fromkeys(("priority", "fencing_token", "epoch"), TOKENS),
    **dict.fromkeys(("count", "limit", "expected_version", "max_rows"), COUNTS),
    **dict.fromkeys(("timeout_sec", "wait_sec"), SHORT),
    **dict.fromkeys(("lease_sec", "ttl_sec", "window_sec", "deadline_sec"), SECONDS),
    **dict.fromkeys(("session_ttl_sec", "older_than_sec"), SECONDS),
    **dict.fromkeys(("keep_suspended", "replace"), FLAGS),
    **dict.fromkeys(("details", "updates", "result"), DICTS),
    **dict.fromkeys(("resources", "used", "capacities"), BATCHES),
    "capacity": [None, *AMOUNTS],
    "since_str": ["2026-01-01 00:00:00", "2026-01-01T00:00:00Z"],
    "allowed": [None, {"CREATED": {"ACTIVE"}, "ACTIVE": {"ABORTED"}}],
    "func": [lambda _claim: {"done": 1}],
    "rows": [[], [{"dfid": "f", "event": "E"}, {"dfid": "g", "event": "E", "details": {"a": 1}}]],
    "pci": [intent(), intent(dfid="g", signature="s"), intent(intent_payload={})],
    "claim": [Claim("k", ClaimState.NEW, token=1), Claim("f", ClaimState.NEW, token=7)],
}


def usual(argument: str) -> list[Make]:
    """Values that an argument of this name usually has."""
    return [(lambda value=value: value) for value in _USUAL[argument]]


def hostile(argument: str) -> list[Make]:
    """Hostile values for an argument; a time to wait is none that a call would really wait for."""
    if argument not in ("timeout_sec", "wait_sec"):
        return HOSTILE
    return [make for make in HOSTILE if not _lasts(make())]


def _lasts(value: object) -> bool:
    """Whether it is a time that a call may wait for: None may mean for ever."""
    if isinstance(value, float):
        return not float.__le__(value, 0.01)
    if isinstance(value, int):
        return int.__ge__(value, 1)
    return value is None
