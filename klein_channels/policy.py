"""Every number that has a default: limits, deadlines, patience. Seconds and bytes unless said."""

from __future__ import annotations

import math

import msgspec

_MAY_BE_ZERO = frozenset(
    {
        "agent_patience",
        "agent_unreachable_patience",
        "stuck_thread_patience",
        "stuck_threads",
        "sender_rate",
        "channel_rate",
        "loop_turns",
        "typing_after",
        "typing_cancel",
        "retry_patience",
        "unknown_wait",
        "settle_wait",
        "account_probe",
        "retention",
        "drain",
    }
)


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers of one service; in the configuration the key `policy:` sets any of them."""

    # Requests
    max_body: int = 1 << 20
    """Bytes; a channel's own `capabilities.max_body` goes before it."""
    header_deadline: float = 10.0
    body_deadline: float = 30.0
    idle_timeout: float = 60.0
    max_connections_per_address: int = 1000
    socket_message: int = 1 << 16
    """Bytes of one message that comes over a socket."""
    socket_queue: int = 1 << 18
    """Bytes that a socket may owe to its other side, which takes them too slowly; then it is closed."""
    socket_ping: float = 20.0
    """Seconds between two pings of a socket."""
    socket_idle: float = 60.0
    """Seconds of silence, pongs included, after which a socket is torn down."""
    ack_deadline: float = 10.0
    """How long a webhook waits for its commit before it is answered 503."""

    # Inbox and turns
    max_waiting_events: int = 100_000
    max_queued_turns: int = 100
    """Events that may wait in one conversation; more are stored as rejected."""
    merge_window: float = 1.5
    """How long a message waits for others that become one turn with it, where a channel merges,"""
    merge_longest: float = 10.0
    """how long the first of them is kept waiting so at most,"""
    merge_most: int = 20
    """and how many of them are one turn."""
    sender_burst: int = 120
    sender_rate: float = 2.0
    """Turns of one sender at once, and refilled per second; what exceeds it waits. 0 for no limit."""
    channel_burst: int = 1000
    channel_rate: float = 0.0
    """The same for a whole channel."""
    loop_turns: int = 1000
    """Turns of one conversation within `loop_window` that are taken for two bots which answer each other:
    it rests for `loop_pause`. 0 for no such guard."""
    loop_window: float = 3600.0
    loop_pause: float = 3600.0
    max_turns: int = 10_000
    """Conversations that may be at work at once, for agents that need no thread."""
    agent_threads: int = 10
    """Turns of synchronous agents at once; the others wait in the inbox, where nothing is lost."""
    agent_deadline: float = 60.0
    agent_tries: int = 3
    agent_patience: float = 120.0
    """An agent that raised is asked `agent_tries` times within this time."""
    agent_unreachable_patience: float = 900.0
    stuck_thread_patience: float = 300.0
    """How long a conversation waits for a thread whose turn is over its deadline."""
    stuck_threads: int = 10
    """How many written-off threads are replaced."""
    apology: str = "Sorry, something went wrong. Please try again."
    max_unsent_replies: int = 20
    """Replies of one conversation that may wait before its next turn waits for them."""
    typing_after: float = 1.0
    typing_every: float = 15.0
    typing_cancel: float = 0.3
    resolve_deadline: float = 5.0
    """What a turn waits for what the platform tells about its event; then it goes on without."""
    profile_deadline: float = 1.5
    """What a turn waits for who its person is, where the platform is asked; then it goes on without."""
    profile_lifetime: float = 7 * 86_400.0
    """How long that is believed."""
    media_deadline: float = 20.0
    """What a turn waits for the files of its event, where they are fetched; then it goes on without."""
    media_most: int = 16 << 20
    """Bytes of one file."""
    media_at_once: int = 16
    """Files that are fetched at once."""
    media_retention: float = 7 * 86_400.0
    """How long files are kept."""
    observer_deadline: float = 10.0
    observer_queue: int = 1000
    """Events of one conversation that may wait for observers; more are counted and dropped."""

    # Sending
    send_deadline: float = 120.0
    """All calls of one send together; each call has a deadline of its own."""
    retry_first: float = 1.0
    retry_longest: float = 300.0
    retry_patience: float = 86_400.0
    unknown_wait: float = 30.0
    account_probe: float = 60.0
    """How long an account waits after the platform refused it as a whole."""
    settle_wait: float = 600.0
    """How long proof of a send whose outcome is unknown is waited for, where the channel settles by it."""
    max_sends: int = 512
    """Sends of all conversations at once."""
    max_queued: int = 10_000
    """Conversations of one account that are kept in memory while they wait; more wait in the store."""
    outage_after: int = 5
    """Conversations whose sends fail one after the other before their account rests as a whole."""
    outage_longest: float = 60.0
    """How long it rests at most before it is tried again, with one send."""

    # Store
    poll_interval: float = 1.0
    lease: float = 15.0
    """How long a server of several on one database may be silent before others go on with its work."""
    retention: float = 14 * 86_400.0
    """How long finished events, turns and replies are kept; dedupe keys at least as long as the
    longest `capabilities.redelivery_horizon`."""
    retention_events: float | None = None
    """The same for one table alone: events, turns, replies (`retention` if there is none) …"""
    retention_turns: float | None = None
    retention_replies: float | None = None
    retention_dead_letters: float | None = None
    """… dead letters and the record of the operators (for ever if there is none) …"""
    retention_audit: float | None = None
    retention_seen: float | None = None
    """… and dedupe keys, which no channel's redelivery horizon may exceed."""
    purge_interval: float = 60.0

    # Process
    drain: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what would stop the service without a word: no threads, no time, no end."""
        if self.merge_window > self.merge_longest:
            raise ValueError("merge_window must not be over merge_longest, which is the longest wait")
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is None or isinstance(value, str):
                continue
            if not math.isfinite(value) or value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
                raise ValueError(
                    f"{name} must be a number {'of 0 or more' if name in _MAY_BE_ZERO else 'over 0'}"
                )
