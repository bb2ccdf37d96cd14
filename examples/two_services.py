"""
Two servers in one process: each has pages, an agent, a store, a port and limits of its own.

Start it with ``twistd --nodaemon --python examples/two_services.py``. It wants SHOP_… and HELP_… of the
environment variables FB_VERIFY, FB_SECRET, FB_PAGE and FB_PAGE_TOKEN (such as SHOP_FB_PAGE), and takes
SHOP_ENDPOINT, HELP_ENDPOINT and FOLDER.
"""

import os

from twisted.application.service import Application

from klein_channels.channels.facebook import FacebookInput
from klein_channels.policy import Policy
from klein_channels.service import ChannelService


async def shop(event):
    """Says what the shop says."""
    return {"text": "What are you looking for?", "quick_replies": [{"title": "Hats", "payload": "hats"}]}


async def help_desk(event):
    """Says what the help desk says."""
    return f"We have written down: {event.describe()}"


def server(name, agent, endpoint, policy):
    """One server; what it is called begins its environment variables."""

    def setting(key):
        return os.environ[f"{name.upper()}_{key}"]

    channel = FacebookInput(
        name=name,
        fb_verify=setting("FB_VERIFY"),
        fb_secret=setting("FB_SECRET"),
        page_tokens={setting("FB_PAGE"): setting("FB_PAGE_TOKEN")},
    )
    return ChannelService(
        [channel],
        agent,
        store=f"sqlite:///{os.environ.get('FOLDER', '.')}/{name}.db",
        port=os.environ.get(f"{name.upper()}_ENDPOINT", endpoint),
        policy=policy,
    )


application = Application("two servers")
for one in (
    server("shop", shop, "tcp:5004:interface=127.0.0.1", Policy()),
    server("help", help_desk, "tcp:5005:interface=127.0.0.1", Policy(agent_deadline=10.0)),
):
    one.setServiceParent(application)
