"""
The door for HTTP: webhooks and health, and the limits that hold before anybody reads a request.

This is the only package that imports klein, and importing klein installs the default reactor: a
process that wants another one installs it before.

`Webhooks` is what a service makes; `Request` brings the limit on bodies to a foreign Site
(``Site(root, requestFactory=klein_channels.web.Request)``).
"""

from .installs import InstallPages
from .limits import Request
from .site import Site
from .webhooks import Receives, Webhooks

__all__ = ["InstallPages", "Receives", "Request", "Site", "Webhooks"]
