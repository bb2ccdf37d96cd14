"""
A Twisted application that has a site of its own, and chat as one part of it.

Start it with ``twistd --nodaemon --python examples/embedded.py``. It wants the environment variables
FB_VERIFY, FB_SECRET, FB_PAGE and FB_PAGE_TOKEN, and takes ENDPOINT and STORE. The home page is at ``/``, the
webhook at ``/chat/webhook``.
"""

import os

from twisted.application.service import Application
from twisted.application.strports import service as listening_service
from twisted.web.resource import Resource
from twisted.web.server import Site

from klein_channels.channels.facebook import FacebookInput
from klein_channels.service import ChannelService
from klein_channels.web import Request


def reply(text, sender_id):
    """A plain function: it may block, it has a thread of its own."""
    return f"You wrote {len(text)} characters."


facebook = FacebookInput(
    fb_verify=os.environ["FB_VERIFY"],
    fb_secret=os.environ["FB_SECRET"],
    page_tokens={os.environ["FB_PAGE"]: os.environ["FB_PAGE_TOKEN"]},
)
channels = ChannelService(
    [facebook], reply, prefix="", store=os.environ.get("STORE", "sqlite:///embedded.db")
)


class Home(Resource):
    """What this application has had all along."""

    def render_GET(self, request):
        return b"<h1>The home page of an application</h1>"


root = Resource()
root.putChild(b"", Home())
root.putChild(b"chat", channels.resource())

# The site is the application's own, so it brings its own deadlines and limits on connections.
# This `Request` refuses bodies that are too long; `channels.site()` would have every limit.
site = Site(root, requestFactory=Request, timeout=30)

application = Application("embedded")
channels.setServiceParent(application)
endpoint = os.environ.get("ENDPOINT", "tcp:8080:interface=127.0.0.1")
listening_service(endpoint, site).setServiceParent(application)
