"""A URL that came from a stranger is followed only to the open Internet; only configured ones go anywhere."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred

from klein_channels.http import Http
from klein_channels.model import Call
from klein_channels.testing.memory import messenger

from .case import PromiseCase


class Follower:
    """A channel of Messenger's that looks at what a message links to."""

    def __init__(self, links):
        self._channel = messenger()
        self.links = links
        self.results = []

    def __getattr__(self, name):
        return getattr(self._channel, name)

    def resolve(self, event):
        for link in self.links:
            self.results.append((yield Call(method="GET", url=link)))
        return event


class TrustTests(PromiseCase):
    def test_a_call_is_a_stranger_s_unless_it_is_said(self):
        self.assertEqual(Call(method="GET", url="https://x.test").trust, "content")

    def test_links_in_a_message_reach_nothing_of_ours(self):
        channel = Follower(
            [
                "http://example.com/plain",
                "https://127.0.0.1:19/",
                "https://[::1]/",
                "https://169.254.169.254/latest/meta-data/",
                "https://10.0.0.1/",
                "https://192.168.1.1/",
                "https://2130706433/",
                "https://0x7f.1/",
                "https://user:password@example.com/",
                "file:///etc/passwd",
                "ftp://example.com/",
                "https://[::ffff:127.0.0.1]/",
            ]
        )
        kit = self.serve(channel=channel)
        connected = []
        connect = kit.process.connectTCP
        kit.process.connectTCP = lambda host, port, *a, **kw: (
            connected.append((host, port)),
            connect(host, port, *a, **kw),
        )[1]
        kit.message("look at these")
        kit.advance(5)
        self.assertEqual({result.outcome for result in channel.results}, {"not_sent"})
        self.assertEqual(len(channel.results), len(channel.links))
        self.assertEqual(set(connected), {("127.0.0.1", 9)})  # the reply, to the configured platform
        self.assertEqual(kit.sent, ["re: look at these"])

    def test_a_name_that_leads_home_is_not_followed(self):
        kit = self.serve()
        http = Http(kit.process, resolver=Resolver("127.0.0.1"))
        called: Deferred = http.call(Call(method="GET", url="https://home.example.com/"))
        kit.settle()
        self.assertEqual(self.successResultOf(called).outcome, "not_sent")

    def test_a_name_with_one_address_at_home_is_not_followed(self):
        kit = self.serve()
        http = Http(kit.process, resolver=Resolver("93.184.216.34", "10.0.0.1"))
        called: Deferred = http.call(Call(method="GET", url="https://both.example.com/"))
        kit.settle()
        self.assertEqual(self.successResultOf(called).outcome, "not_sent")


class Resolver:
    """Finds the same addresses for every name."""

    def __init__(self, *addresses):
        self._addresses = addresses

    def resolveHostName(self, receiver, hostName, portNumber=0, *args, **kwargs):
        receiver.resolutionBegan(None)
        for address in self._addresses:
            receiver.addressResolved(IPv4Address("TCP", address, portNumber))
        receiver.resolutionComplete()
