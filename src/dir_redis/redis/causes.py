"""What led to an error, without what its caller was dealing with already."""

from __future__ import annotations

import sys
from collections.abc import Iterator


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, the outermost first.

    Python makes an error that a caller is handling the context of every new one, so that a write
    which an agent does because its broker refused a connection would seem to have met that itself.
    To be called where no except clause of this package is running.
    """
    handled = sys.exception()
    cause: BaseException | None = error
    while cause is not None and cause is not handled:
        yield cause
        cause = cause.__cause__ or cause.__context__
