"""The admin endpoint: who is let in, what is answered, and that every order is on record."""

import json

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.admin import AdminSettings, checked_endpoint, is_of_this_machine
from klein_channels.errors import ConfigError, StartError
from klein_channels.policy import Policy
from klein_channels.secret import Secret
from klein_channels.service import ChannelService
from klein_channels.testing.graph import refusal
from klein_channels.testing.memory import PAGE, PERSON, ServiceInMemory, conversation, messenger

TOKEN = "a-token-of-twenty-letters"
KEY = conversation()
V1 = "/admin/v1"


async def echo(event):
    return f"re: {event.text}"


def settings(**more):
    return AdminSettings(**{"token": Secret(TOKEN), "metrics": True, "port": None, **more})


class AdminCase(SynchronousTestCase):
    def served(self, agent=echo, admin=None, **more):
        self.kit = ServiceInMemory(agent, path=self.mktemp(), admin=admin or settings(), **more)
        self.addCleanup(self.kit.stop)
        self.site = self.kit.service.admin_site()
        return self.kit

    def raw(self, line, *headers, body=b""):
        lines = [line.encode(), *(one.encode() for one in headers), b"Content-Length: %d" % len(body)]
        asked = self.kit.raw(b"\r\n".join([*lines, b"", body]), self.site)
        self.kit.settle()
        return asked

    def asked(self, method, path, order=None, *headers):
        body = b"" if order is None else json.dumps(order).encode()
        given = [f"Authorization: Bearer {TOKEN}", "Host: 127.0.0.1:5005", *headers]
        if order is not None:
            given.append("Content-Type: application/json")
        return self.raw(f"{method} {path} HTTP/1.1", *given, body=body)

    def get(self, path):
        asked = self.asked("GET", V1 + path)
        self.assertEqual(asked.status, 200, asked.answer)
        return json.loads(asked.body)

    def post(self, path, order, method="POST"):
        asked = self.asked(method, V1 + path, order)
        self.assertEqual(asked.status, 200, asked.answer)
        return json.loads(asked.body)

    def refused(self, method, path, order, status):
        asked = self.asked(method, V1 + path, order)
        self.assertEqual(asked.status, status, asked.answer)
        return json.loads(asked.body)["error"]


class DoorTests(AdminCase):
    """Everything but one good request is refused, and changes nothing."""

    good = (f"GET {V1}/status HTTP/1.1", "Host: localhost:5005", f"Authorization: Bearer {TOKEN}")

    def status(self, *headers, line=None):
        return self.raw(line or self.good[0], *headers).status

    def test_with_the_token_it_opens(self):
        self.served()
        self.assertEqual(self.status(*self.good[1:]), 200)

    def test_without_it_or_with_another_it_does_not(self):
        self.served()
        host = self.good[1]
        for given in (
            [],
            ["Authorization: Bearer"],
            ["Authorization: Bearer "],
            [f"Authorization: Basic {TOKEN}"],
            [f"Authorization: {TOKEN}"],
            [f"Authorization: Bearer {TOKEN}x"],
            [f"Authorization: Bearer {TOKEN[:-1]}"],
            ["Authorization: Bearer é"],
            [f"Authorization: Bearer {TOKEN}", f"Authorization: Bearer {TOKEN}"],
            ["Authorization: Bearer x", f"Authorization: Bearer {TOKEN}"],
        ):
            self.assertEqual(self.status(host, *given), 401, given)

    def test_a_token_in_the_url_is_none(self):
        self.served()
        line = f"GET {V1}/status?token={TOKEN}&access_token={TOKEN} HTTP/1.1"
        self.assertEqual(self.status(self.good[1], line=line), 401)

    def test_a_name_that_is_not_ours_is_refused_though_the_token_is_right(self):
        self.served()
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:5005", "10.0.0.1", ""):
            self.assertEqual(self.status(f"Host: {host}", self.good[2]), 403, host)

    def test_the_names_of_this_machine_and_those_that_are_configured(self):
        self.served(admin=settings(hosts=("admin.internal",)))
        for host in ("localhost", "127.0.0.1:5005", "[::1]:5005", "LOCALHOST", "admin.internal:8443"):
            self.assertEqual(self.status(f"Host: {host}", self.good[2]), 200, host)

    def test_a_page_of_somebody_elses_is_refused(self):
        self.served()
        for origin in ("https://evil.example", "null", "http://127.0.0.1.evil.example", "file://"):
            self.assertEqual(self.status(*self.good[1:], f"Origin: {origin}"), 403, origin)
        self.assertEqual(self.status(*self.good[1:], "Origin: http://localhost:5005"), 200)

    def test_an_order_as_a_form_could_send_it_is_refused(self):
        kit = self.served()
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            line = f"POST {V1}/pause HTTP/1.1"
            asked = self.raw(
                line, *self.good[1:], f"Content-Type: {kind}", body=b'{"channel":"facebook","mode":"hold"}'
            )
            self.assertEqual(asked.status, 415, kind)
        self.assertEqual(kit.rows("SELECT * FROM pause"), [])

    def test_what_is_refused_is_in_the_log_once_a_minute_and_without_the_token(self):
        self.served()
        from twisted.logger import capturedLogs

        with capturedLogs() as logged:
            for _ in range(5):
                self.status(self.good[1], "Authorization: Bearer some-other-token")
        lines = [event for event in logged if "refused" in event["log_format"]]
        self.assertEqual(len(lines), 1)
        self.assertNotIn("some-other-token", repr(logged))

    def test_metrics_need_it_too(self):
        self.served()
        line = "GET /metrics HTTP/1.1"
        self.assertEqual(self.status(self.good[1], line=line), 401)
        self.assertEqual(self.status(*self.good[1:], line=line), 200)


class PlaceTests(AdminCase):
    """Where it may listen."""

    def test_a_number_is_this_machine_only(self):
        self.assertEqual(checked_endpoint(settings(port="5005")), "tcp:5005:interface=127.0.0.1")

    def test_an_address_that_others_reach_takes_an_explicit_word(self):
        for port in ("tcp:5005", "tcp:5005:interface=0.0.0.0", "tcp:5005:interface=192.168.1.4",
                     "ssl:5005", "tcp6:5005", "systemd:domain=INET:index=0", "tcp:5005:interface=",
                     "tcp:5005:interface=127.0.0.1:interface=0.0.0.0", "tcp:5005:interface=127.0.0.1.evil",
                     r"tcp:5005:interface=\:\:"):  # fmt: skip
            with self.assertRaises(ConfigError) as caught:
                checked_endpoint(settings(port=port))
            self.assertIn("remote: true", str(caught.exception))
            self.assertEqual(checked_endpoint(settings(port=port, remote=True)), port)

    def test_addresses_of_this_machine(self):
        for port in ("tcp:5005:interface=127.0.0.1", "tcp:interface=localhost:port=5005", "unix:/run/a.sock",
                     r"tcp:5005:interface=\:\:1", "tcp:5005:interface=127.8.8.8"):  # fmt: skip
            self.assertTrue(is_of_this_machine(port), port)

    def test_a_short_token_is_refused(self):
        for token in ("", "short"):
            with self.assertRaises(ConfigError) as caught:
                ChannelService([messenger()], echo, admin=settings(token=Secret(token)))
            self.assertIn("admin: token", str(caught.exception))

    def test_unless_it_is_configured_there_is_none(self):
        kit = ServiceInMemory(echo)
        self.addCleanup(kit.stop)
        self.assertIsNone(kit.service._administration)
        asked = kit.raw(b"GET /admin/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        kit.settle()
        self.assertEqual(asked.status, 404)

    def test_not_under_the_public_port_either(self):
        kit = self.served()
        asked = kit.raw(
            b"GET /admin/v1/status HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer %s\r\n\r\n" % TOKEN.encode()
        )
        kit.settle()
        self.assertEqual(asked.status, 404)

    def test_a_port_that_is_taken_is_named(self):
        class Reactor:
            def seconds(self):
                return 0.0

            def listenTCP(self, port, *args, **kwargs):
                raise CannotListenError("127.0.0.1", port, OSError(98, "Address already in use"))

        service = ChannelService([messenger()], echo, admin=settings(port="5099"), reactor=Reactor())
        with self.assertRaises(StartError) as caught:
            service.privilegedStartService()
        self.assertIn("5099", str(caught.exception))

    def test_without_prometheus_client_it_does_not_start_with_metrics(self):
        import sys
        from unittest import mock

        missing = mock.patch.dict(sys.modules, {"prometheus_client": None})
        with missing, self.assertRaises(ConfigError) as caught:
            ChannelService([messenger()], echo, admin=settings())
        self.assertIn("klein_channels[metrics]", str(caught.exception))


class OrderTests(AdminCase):
    def test_status_says_why_it_is_not_ready_and_what_waits(self):
        kit = self.served()
        self.post("/pause", {"channel": "facebook", "mode": "hold", "note": "deploy"})
        kit.message("hi")
        status = self.get("/status")
        self.assertTrue(status["ready"])
        self.assertEqual(status["channels"][0]["waiting_events"], 1)
        self.assertEqual(status["pauses"][0]["note"], "deploy")
        kit.disk.gone = True
        kit.message("again")
        kit.disk.gone = False
        self.assertIn("store", " ".join(self.get("/status")["reasons"]))

    def test_a_pause_holds_at_once_and_a_resume_lets_go_at_once(self):
        kit = self.served()
        self.assertEqual(self.get("/pauses"), {"pauses": []})
        self.post("/pause", {"channel": "facebook", "mode": "reject"})
        self.assertEqual(kit.message("one", mid="m_1"), 503)
        self.post("/pause", {"channel": "facebook", "mode": "hold"})
        self.assertEqual(kit.message("one", mid="m_1"), 200)
        self.assertEqual(kit.sent, [])
        self.post("/resume", {"channel": "facebook"})
        kit.settle()
        self.assertEqual(kit.sent, ["re: one"])

    def test_orders_that_are_none_say_what_is_wrong(self):
        self.served()
        for path, order, word in (
            ("/pause", {"channel": "facebook"}, "mode"),
            ("/pause", {"channel": "facebook", "mode": "stop"}, "stop"),
            ("/pause", {"channel": "facebok", "mode": "hold"}, "facebok"),
            ("/pause", {"channel": "facebook", "mode": "maintenance"}, "text"),
            ("/pause", {"channel": "facebook", "mode": "hold", "acount": "1"}, "acount"),
            ("/pause", [], "object"),
            ("/owner", {"conversation": "nobody", "owner": "human"}, "nobody"),
            ("/owner", {"conversation": KEY, "owner": "me"}, "me"),
            ("/dead-letters/replay", {}, "ids"),
            ("/dead-letters/discard", {"selection": {"chanel": "facebook"}}, "chanel"),
            ("/people/erase", {"channel": "facebook"}, "id"),
        ):
            self.assertIn(word, self.refused("POST", path, order, 400))
        asked = self.raw(
            f"POST {V1}/pause HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {TOKEN}",
            "Content-Type: application/json",
            body=b"{no json",
        )
        self.assertEqual(asked.status, 400)

    def test_what_is_not_there_is_404(self):
        self.served()
        self.refused("GET", "/nothing", None, 404)
        self.refused("GET", "/dead-letters/reply-9", None, 404)
        self.refused("POST", "/resume", {"channel": "facebook"}, 404)
        self.refused("PUT", "/dead-letters/reply-9", {"content": {}}, 404)
        self.assertEqual(self.asked("PUT", V1 + "/pause", {}).status, 405)

    def test_health_tells_of_pauses_and_stays_well(self):
        kit = self.served()

        def health():
            asked = kit.raw(b"GET /health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
            kit.settle()
            return asked.status, json.loads(asked.body)

        self.assertEqual(health(), (200, {"status": "ok"}))
        self.post("/pause", {"channel": "facebook", "mode": "hold"})
        self.assertEqual(health(), (200, {"status": "ok", "paused": ["facebook: hold"]}))
        kit.service._pipeline.conversations._lanes.most = 0
        status, said = health()
        self.assertEqual((status, said["status"]), (503, "unavailable"))
        self.assertIn("stuck", said["reasons"][0])
        kit.service._pipeline.conversations._lanes.most = 10

    def test_accounts_and_how_they_are(self):
        kit = self.served()
        self.assertEqual(self.get("/accounts")["accounts"], [])
        self.assertEqual(self.get("/accounts")["channels"], [{"channel": "facebook", "type": "facebook"}])
        kit.graph.answers(refusal(190, "Error validating access token", 463))
        kit.message("hi")
        (account,) = self.get("/accounts")["accounts"]
        self.assertEqual((account["account"], account["state"], account["alert"]), (PAGE, "paused", True))
        self.assertGreater(account["until"], kit.clock.seconds())

    def test_conversations_and_their_owners(self):
        kit = self.served()
        kit.message("hi")
        (found,) = self.get("/conversations?channel=facebook")["conversations"]
        self.assertEqual((found["key"], found["owner"]), (KEY, "bot"))
        self.assertEqual(self.post("/owner", {"conversation": KEY, "owner": "human"})["owner"], "human")
        self.assertEqual(self.get(f"/conversation?key={KEY}")["owner"], "human")
        self.assertEqual(len(self.get("/conversations?channel=facebook&owner=human")["conversations"]), 1)
        self.assertEqual(self.get("/conversations?channel=facebook&owner=bot")["conversations"], [])
        kit.message("for the human")
        self.assertEqual(kit.sent, ["re: hi"])
        self.refused("GET", "/conversations", None, 400)
        self.refused("GET", "/conversations?channel=facebook&owner=me", None, 400)

    def test_dead_letters_from_the_list_to_the_replay(self):
        kit = self.served()
        kit.graph.answers(refusal(100, "No matching user found", 2018001))
        kit.message("hi")
        (letter,) = self.get("/dead-letters?channel=facebook&reason=matching")["dead_letters"]
        self.assertEqual(letter["id"], "reply-1")
        self.assertNotIn("content", letter)
        self.assertEqual(self.get("/dead-letters?kind=turn")["dead_letters"], [])
        whole = self.get("/dead-letters/reply-1")
        whole["content"]["parts"][0]["text"] = "edited"
        self.post("/dead-letters/reply-1", {"content": whole["content"]}, "PUT")
        self.assertIn("part", self.refused("PUT", "/dead-letters/reply-1", {"content": {}}, 409))
        would = self.post("/dead-letters/replay", {"ids": ["reply-1"], "dry_run": True})
        self.assertEqual(would, {"would": [{"id": "reply-1", "would": "send"}]})
        done = self.post("/dead-letters/replay", {"ids": ["reply-1", "reply-9"]})
        self.assertEqual(done, {"done": ["reply-1"], "unknown": ["reply-9"]})
        kit.advance(2)
        self.assertEqual(kit.sent, ["edited"])
        self.assertEqual(self.post("/dead-letters/discard", {"selection": {}}), {"done": []})

    def test_a_person_is_shown_and_erased(self):
        kit = self.served()
        kit.message("hi")
        shown = self.post("/people/export", {"channel": "facebook", "id": PERSON})
        self.assertEqual(shown["tables"]["inbox"][0]["event"]["text"], "hi")
        self.assertGreater(self.post("/people/erase", {"channel": "facebook", "id": PERSON})["erased"], 3)
        self.assertEqual(self.get("/conversations?channel=facebook")["conversations"], [])

    def test_every_order_and_every_look_at_words_is_on_record_with_who_it_was(self):
        self.served()
        self.post("/pause", {"channel": "facebook", "mode": "hold"})
        self.asked("POST", f"{V1}/resume", {"channel": "facebook"}, "X-Operator: Luis\x07 of ops" + "x" * 99)
        self.refused("GET", "/dead-letters/reply-9", None, 404)
        deeds = self.get("/audit")["deeds"]
        self.assertEqual([deed["action"] for deed in deeds], ["pause", "resume", "show"])
        self.assertIn("HTTP from 127.0.0.1", deeds[0]["actor"])
        self.assertTrue(deeds[1]["actor"].startswith("Luis"), deeds[1])
        self.assertLess(len(deeds[1]["actor"]), 100)
        self.assertTrue(deeds[1]["actor"].isprintable())
        self.assertEqual(self.get(f"/audit?after={deeds[1]['id']}")["deeds"], deeds[2:])

    def test_an_order_goes_on_when_its_client_hangs_up(self):
        kit = self.served()
        body = b'{"channel":"facebook","mode":"hold"}'
        asked = kit.raw(
            f"POST {V1}/pause HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body,
            self.site,
        )
        asked.hang_up()
        kit.settle()
        self.assertEqual(len(kit.rows("SELECT * FROM pause")), 1)

    def test_when_the_server_stops_no_connection_is_left(self):
        kit = self.served()
        asked = self.asked("GET", V1 + "/status")
        self.assertFalse(asked.closed)
        kit.service.stopService()
        kit.advance(20)
        self.assertTrue(asked.closed)

    def test_while_the_server_stops_nothing_is_ordered(self):
        kit = self.served()
        self.patch(kit.service, "_started", False)
        self.refused("GET", "/status", None, 503)


class MetricsTests(AdminCase):
    def page(self):
        asked = self.asked("GET", "/metrics")
        self.assertEqual(asked.status, 200)
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(asked.body.decode())
            for sample in family.samples
        }

    def test_what_waits_and_what_was_given_up(self):
        kit = self.served(policy=Policy(retry_first=1000))
        kit.graph.answers(refusal(100, "No matching user found", 2018001))
        kit.message("hi")
        self.post("/pause", {"channel": "facebook", "mode": "hold"})
        kit.message("held")
        kit.advance(7)
        page = self.page()
        self.assertEqual(page["klein_channels_dead_letters", "facebook", "reply"], 1)
        self.assertEqual(page["klein_channels_dead_letters", "facebook", "turn"], 0)
        self.assertEqual(page["klein_channels_queue_depth", "facebook"], 1)
        self.assertEqual(page["klein_channels_queue_oldest_age_seconds", "facebook"], 7)
        self.assertEqual(page["klein_channels_paused", "facebook", "hold"], 1)
        self.assertEqual(page["klein_channels_ready",], 1)
        self.assertEqual(page["klein_channels_events_received_total", PAGE, "facebook", "message"], 2)

    def test_several_paused_accounts_are_one_series(self):
        self.served()
        for account in ("1", "2"):
            self.post("/pause", {"channel": "facebook", "account": account, "mode": "hold"})
        answer = self.asked("GET", "/metrics").body.decode()
        self.assertEqual(answer.count('klein_channels_paused{channel="facebook",mode="hold"} 2.0'), 1)
        self.assertEqual(answer.count("klein_channels_paused{"), 1)

    def test_a_store_that_is_away_is_no_reason_to_show_nothing(self):
        kit = self.served()
        kit.message("hi")
        kit.disk.gone = True
        page = self.page()
        self.assertEqual(page["klein_channels_ready",], 0)
        self.assertEqual(page["klein_channels_events_received_total", PAGE, "facebook", "message"], 1)
        kit.disk.gone = False

    def test_they_are_off_unless_wanted(self):
        self.served(admin=settings(metrics=False))
        self.assertEqual(self.asked("GET", "/metrics").status, 404)

    def test_how_late_the_reactor_was(self):
        kit = self.served()
        kit.advance(1)
        kit.clock.advance(2)
        self.assertGreater(self.page()["klein_channels_reactor_lag_seconds",], 1.5)
