"""Waiting for several Deferreds that belong to others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed


def all_fired(deferreds: Iterable[Deferred[Any]]) -> Deferred[None]:
    """Fires when all of `deferreds` have, whatever their results, which it leaves alone."""
    pending = [deferred for deferred in deferreds if not deferred.called]
    if not pending:
        return succeed(None)
    done: Deferred[None] = Deferred()
    left = len(pending)

    def one_less(result: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0 and not done.called:
            done.callback(None)
        return result

    for deferred in pending:
        deferred.addBoth(one_less)
    return done
