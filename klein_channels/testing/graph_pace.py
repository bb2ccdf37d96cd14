"""How often the Graph's stand-in may be written to, and what it says to those who write too often."""

from __future__ import annotations

from collections import defaultdict, deque

import msgspec

from .graph_answers import Answer, refusal


class Allowance:
    """So many messages a second for each account, counted over any second.

    Who exceeds it is throttled for `rests` seconds. `throttled` counts those answers, `early` the calls
    that came before their time.
    """

    def __init__(self, per_second: int = 300, rests: float = 60.0) -> None:
        self.throttled = 0
        self.early = 0
        self._per_second = per_second
        self._rests = rests
        self._lately: defaultdict[str, deque[float]] = defaultdict(deque)
        self._until: dict[str, float] = {}

    def judge(self, account: str, at: float) -> Answer | None:
        """The refusal of a message of `account` at that time; None if it may pass."""
        until = self._until.get(account, 0.0)
        if at < until:
            self.early += 1
            return self._refusal(account, until - at)
        lately = self._lately[account]
        while lately and lately[0] <= at - 1.0:
            lately.popleft()
        lately.append(at)
        if len(lately) <= self._per_second:
            return None
        lately.clear()
        self._until[account] = at + self._rests
        return self._refusal(account, self._rests)

    def _refusal(self, account: str, seconds: float) -> Answer:
        self.throttled += 1
        use = {"type": "messenger", "call_count": 100, "total_time": 20, "total_cputime": 20}
        minutes = -(-seconds // 60)
        usage = {account: [{**use, "estimated_time_to_regain_access": int(minutes)}]}
        answer = refusal(80006, "(#80006) There have been too many calls to this messenger account.")
        headers = {"X-Business-Use-Case-Usage": msgspec.json.encode(usage).decode()}
        return msgspec.structs.replace(answer, headers=headers)
