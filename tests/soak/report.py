"""What a soak tells: lines as it goes, and whatever went wrong."""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class Report:
    """Told by all parts of a soak, from any thread.

    Attributes:
        violations: what went wrong so far.
    """

    def __init__(self) -> None:
        self.violations: list[str] = []

    def say(self, line: str) -> None:
        """Tell whoever runs this."""
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def counted(self, made: Counter[str]) -> None:
        """Say how often each kind of something was seen."""
        for kind, count in sorted(made.items()):
            self.say(f"{count:6} x {kind}")

    def wrong(self, problem: str) -> None:
        """Note a violation."""
        self.violations.append(problem)

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """Note as a violation whatever error ends a with block; what comes after it goes on."""
        try:
            yield
        except (Exception, pytest.fail.Exception):  # which is what wait_until ends with
            self.wrong(f"{what}: {traceback.format_exc().rstrip()}")
