"""
A process with the Graph's stand-in that throttles who writes too often.

Arguments: port, messages that a page may write in any second, seconds for which it is throttled then.
``GET /counts`` tells what came: messages shown, throttle answers, calls before the time that was named,
and the most messages that came within one second.
"""

from __future__ import annotations

import json
import sys
from collections import deque

from twisted.internet import endpoints, reactor
from twisted.web.resource import Resource
from twisted.web.server import Site
from wire import TOKENS

from klein_channels.testing.graph import GraphStandIn
from klein_channels.testing.graph_pace import Allowance

ON_ITS_WAY = 0.25
"""Calls that come so soon after a throttle answer had been sent before it arrived."""


class Counting(Allowance):
    """Counts the fullest second, and the calls that nobody may excuse."""

    fullest = 0
    at = 0.0

    def judge(self, account, at):
        self.times = getattr(self, "times", deque())
        while self.times and self.times[0] <= at - 1.0:
            self.times.popleft()
        self.times.append(at)
        self.fullest = max(self.fullest, len(self.times))
        early = self.early
        refusal = super().judge(account, at)
        if refusal is not None and self.early == early:
            self.at = at
        if self.early > early and at < self.at + ON_ITS_WAY:
            self.early = early
        return refusal


class Counts(Resource):
    isLeaf = True

    def render_GET(self, request):
        sent = [message.at for message in graph.sent]
        told = {
            "answered": len(sent),
            "throttled": allowance.throttled,
            "early": allowance.early,
            "fullest": allowance.fullest,
            "first": min(sent, default=0.0),
            "last": max(sent, default=0.0),
        }
        return json.dumps(told).encode()


allowance = Counting(int(sys.argv[2]), float(sys.argv[3]))
graph = GraphStandIn(reactor, TOKENS)
graph.allowance = allowance
root = Resource()
root.putChild(b"counts", Counts())
root.putChild(b"answered", Counts())
root.getChild = lambda path, request: (request.postpath.insert(0, request.prepath.pop()), graph)[1]
endpoints.serverFromString(reactor, f"tcp:{sys.argv[1]}:interface=127.0.0.1").listen(Site(root))
reactor.run()
