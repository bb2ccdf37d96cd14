"""Makes ``twistd channels``. Imports nothing of ours: what it names is loaded when it is chosen."""

from twisted.application.service import ServiceMaker

channels = ServiceMaker(
    "klein_channels",
    "klein_channels.tap",
    "Connect a conversational AI to messaging platforms.",
    "channels",
)
