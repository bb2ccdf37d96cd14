"""What the Graph's stand-in plays of Instagram: the Send API of both logins, tokens that are renewed."""

from __future__ import annotations

from collections.abc import Mapping

from ..meta.rules_instagram import BODY
from .graph_answers import Answer, Asked, Done, refusal
from .graph_app import Settings
from .graph_pages import body_problem
from .graph_people import HUMAN_AGENT_WINDOW, WINDOW, People

LIFETIME = 5_184_000
"""Seconds of a token."""


class InstagramAccounts:
    """Some accounts, ``{Instagram account id: token}``; `people` are those who wrote to them.

    Tokens are pages' unless `renews`: then they are the accounts' own, and can be renewed.
    """

    def __init__(self, tokens: Mapping[str, str], *, renews: bool = False) -> None:
        self.tokens: dict[str, str] = dict(tokens)
        self.people = People()
        self.settings = Settings(has_app=not renews)
        self._renews = renews

    def answer(self, asked: Asked) -> Done | Answer | None:
        """What the Graph says to a request with an account's token."""
        if asked.node == "refresh_access_token" and self._renews and asked.method == "GET":
            return self._renewed(asked)
        settings = self.settings.answer(asked)
        if settings is not None or asked.node != asked.account:
            return settings
        if asked.edge == "" and asked.method == "GET":
            return Done(body=self._account(asked.account))
        if asked.edge == "messages" and asked.method == "POST":
            return self._message(asked)
        return None

    def _account(self, account: str) -> dict[str, object]:
        if self._renews:
            return {"id": f"9{account}", "user_id": account, "username": f"account_{account}"}
        return {"id": f"1{account}", "name": "Page", "instagram_business_account": {"id": account}}

    def _renewed(self, asked: Asked) -> Done | Answer:
        if asked.query.get("grant_type") != "ig_refresh_token":
            return refusal(100, "The parameter grant_type is required")
        token = f"{self.tokens[asked.account]}+"
        self.tokens[asked.account] = token
        return Done(body={"access_token": token, "token_type": "bearer", "expires_in": LIFETIME})

    def _message(self, asked: Asked) -> Done | Answer:
        problem = body_problem(asked.body, BODY) or self._not_now(asked)
        if problem is not None:
            return problem
        person, shown = asked.body["recipient"].get("id"), "message" in asked.body
        mid = f"aWdfstandin{asked.number}" if shown else ""
        usual = {"recipient_id": person, "message_id": mid}
        return Done(
            body={key: value for key, value in usual.items() if value},
            kept="sent" if shown else "actions",
            mid=mid,
        )

    def _not_now(self, asked: Asked) -> Answer | None:
        person = asked.body["recipient"].get("id")
        if person is None:
            return None
        if not self.people.knows(asked.account, person):
            return refusal(100, "(#100) No matching Instagram user", 2534014)
        window = HUMAN_AGENT_WINDOW if asked.body.get("tag") == "HUMAN_AGENT" else WINDOW
        if self.people.within(asked.account, person, asked.at, window):
            return None
        return refusal(10, "(#10) This message is sent outside of allowed window.", 2534022)
