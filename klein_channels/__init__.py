"""
klein_channels connects a conversational AI to messaging and voice platforms.

`klein_channels.agent.Agent` and `klein_channels.channels` are what a script needs,
`klein_channels.service.ChannelService` what a Twisted application embeds.
"""

__version__ = "0.1.0"
