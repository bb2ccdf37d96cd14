"""
The kinds of Meta's references, each with its fixture, its event class and its row in the documentation.

A kind that somebody adds to a table has to have all three; a fixture that no table names is one that nobody
asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from twisted.trial.unittest import SynchronousTestCase

from klein_channels import model
from klein_channels.channels.facebook import FacebookInput
from klein_channels.channels.instagram import InstagramInput
from klein_channels.channels.whatsapp import WhatsAppInput
from klein_channels.model import WebhookRequest

ROOT = Path(__file__).parent.parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
OURS = ("104512345678901", "104512345678902", "17841400000000001", "106540352242922")
EVENT_TYPES = {kind.__struct_config__.tag for kind in get_args(model.AnyEvent)}

MESSENGER_IN = {
    # kind: (type of the event, fixtures, words of the documentation)
    "message": (
        "message",
        "message_text message_emoji message_command message_nlp message_blank message_empty",
        "Messages",
    ),
    "quick_reply": ("message", "message_quick_reply message_quick_reply_phone", "quick replies"),
    "reply_to": ("message", "message_reply", "replies to a message"),
    "image": ("message", "attachment_image attachment_several_images attachment_with_caption", "image"),
    "video": ("message", "attachment_video", "video"),
    "audio": ("message", "attachment_audio", "audio"),
    "file": ("message", "attachment_file", "file"),
    "sticker": (
        "message",
        "attachment_sticker attachment_sticker_as_image attachment_sticker_named_by_message",
        "sticker",
    ),
    "location": ("message", "attachment_location", "location"),
    "fallback": (
        "message",
        "attachment_fallback attachment_fallback_old attachment_fallback_text_payload"
        " attachment_fallback_unavailable",
        "shared posts",
    ),
    "template": ("message", "attachment_product", "products"),
    "reel": ("message", "attachment_reel attachment_ig_reel", "shared posts"),
    "post": ("message", "attachment_post attachment_ig_post", "shared posts"),
    "appointment_booking": ("message", "attachment_appointment", "attachments"),
    "an attachment unheard of": ("message", "attachment_unheard_of", "attachments"),
    "referral in a message": ("message", "message_from_ad message_from_product", "referrals"),
    "referral in a message without words": (
        "referral",
        "message_without_words_but_a_referral",
        "``referral``",
    ),
    "prior_message": ("message", "message_after_checkbox", "Messages"),
    "hop_context": ("message", "message_handed_on", "Messages"),
    "message_echoes": ("echo", "echo_inbox echo_template echo_parties_swapped echo_without_flag", "Echoes"),
    "message_edits": ("edited", "message_edit", "Edits"),
    "is_deleted": ("deleted", "message_deleted", "deletions"),
    "messaging_postbacks": (
        "postback",
        "postback_get_started postback_of_guest postback_without_mid changes_postback",
        "Postbacks",
    ),
    "coupon click": ("postback", "coupon_click coupon_click_without_payload", "Coupons"),
    "message_deliveries": ("receipt", "delivery delivery_without_mids", "deliveries"),
    "message_reads": ("receipt", "read read_by_mid", "reads"),
    "message_reactions": ("reaction", "reaction reaction_taken_back", "reactions"),
    "messaging_referrals": ("referral", "referral referral_lead", "``referral``"),
    "messaging_optins": (
        "optin",
        "optin optin_checkbox optin_one_time optin_notifications optin_notifications_stopped",
        "``optin``",
    ),
    "messaging_account_linking": ("account_linked", "account_linked account_unlinked", "linking"),
    "messaging_handovers": (
        "handover",
        "handover_to_us handover_to_inbox handover_taken handover_requested handover_app_roles"
        " handover_unclear",
        "Handovers",
    ),
    "standby": ("message", "standby", "Standby"),
    "messaging_policy_enforcement": (
        "notice",
        "policy_enforcement policy_enforcement_old",
        "Policy enforcement",
    ),
    "messaging_feedback": ("form_answered", "feedback", "Feedback"),
    "messaging_customer_information": ("form_answered", "customer_information", "customer information"),
    "instant form": ("form_answered", "instant_form misspelled_list", "instant forms"),
    "response_feedback": ("rated", "response_feedback", "Ratings"),
    "order": ("order_placed", "order", "carts"),
    "game_play": ("notice", "game_play", "games"),
    "comments (feed)": ("comment", "comment comment_of_ours", "Comments"),
    "comments, edited": ("edited", "comment_edited", "Edits"),
    "comments, removed": ("deleted", "comment_removed", "deletions"),
    "the dashboard's test button": ("message", "dashboard_test", "test button"),
    "the dashboard's older test button": ("notice", "dashboard_test_old", "test button"),
    "retired": (
        "unknown",
        "payment_retired checkout_retired pre_checkout_retired branded_camera_retired",
        "nobody has heard of",
    ),
    "other keys and fields": (
        "unknown",
        "kept_as_unknown unheard_of changes_feed entry_without_lists no_entries other_object",
        "nobody has heard of",
    ),
    "other accounts": (
        "message",
        "page_not_configured recipient_not_configured_entry_is no_sender",
        "Seen by observers",
    ),
    "batches": ("message", "batch_of_two_pages bad_items_between_good_ones ids_as_numbers", "Messages"),
    "times": ("message", "timestamp_absurd timestamp_as_text timestamp_in_seconds", "Messages"),
}
INSTAGRAM_IN = {
    "messages": ("message", "message_text", "Messages"),
    "quick_reply": ("message", "message_quick_reply", "Text"),
    "reply_to.mid": ("message", "message_reply", "replies"),
    "reply_to.story": ("message", "story_reply", "Story replies"),
    "story_mention": ("message", "story_mention", "story mentions"),
    "ig_story": ("message", "story_shared", "share"),
    "is_deleted": ("deleted", "deleted deleted_by_us", "Deleted messages"),
    "is_unsupported": ("message", "unsupported unsupported_type", "does not show"),
    "ephemeral": ("message", "ephemeral ephemeral_with_words", "vanish"),
    "like_heart": ("message", "like_heart", "Messages"),
    "ig_post": ("message", "shared_post share_old", "shared posts"),
    "ig_reel": ("message", "shared_ig_reel shared_reel", "reels"),
    "media": (
        "message",
        "attachment_image attachment_video attachment_audio attachment_file",
        "images, video, audio, files",
    ),
    "template": ("message", "attachment_product", "products"),
    "referral in a message": ("message", "message_from_product message_from_ad", "referrals"),
    "messaging_referral": ("referral", "referral igme_first_contact", "ig.me"),
    "messaging_postbacks": ("postback", "postback_ice_breaker postback_as_change", "ice breakers"),
    "message_reactions": ("reaction", "reaction reaction_taken_back", "Reactions"),
    "messaging_seen": ("receipt", "seen", "seen"),
    "echoes": ("echo", "echo", "Echoes"),
    "messaging_handover": ("handover", "handover_taken handover_to_us", "Handovers"),
    "standby": ("message", "standby", "standby"),
    "comments": ("comment", "comment comment_answering comment_of_ours", "Comments"),
    "live_comments": ("comment", "comment_live", "Comments"),
    "mentions": ("notice", "mention", "Mentions"),
    "message_edit": ("edited", "message_edit_without_sender", "edits"),
    "the dashboard's test button": ("message", "dashboard_test", "Messages"),
    "other fields and objects": ("unknown", "story_insights other_object", "nobody has heard of"),
    "other accounts, batches": (
        "message",
        "account_not_configured entry_is_a_person batch_with_bad_items",
        "Messages",
    ),
}
WHATSAPP_IN = {
    "text": ("message", "text text_blank text_forwarded", "Text"),
    "context": ("message", "text_reply text_about_product", "``reply_to``"),
    "referral": ("message", "text_from_ad", "``referral``"),
    "image": ("message", "image image_with_url", "image"),
    "video": ("message", "video", "video"),
    "audio": ("message", "audio voice", "audio"),
    "document": ("message", "document", "document"),
    "sticker": ("message", "sticker", "sticker"),
    "location": ("message", "location", "location"),
    "contacts": ("message", "contacts", "contacts"),
    "button_reply": ("postback", "button_reply", "Reply button"),
    "list_reply": ("postback", "list_reply list_reply_kept_apart", "row of a list"),
    "button": ("postback", "template_button", "button of a template"),
    "nfm_reply": ("form_answered", "flow_reply flow_reply_no_json", "Flow"),
    "interactive without an object": ("unknown", "interactive_empty", "Everything else"),
    "reaction": ("reaction", "reaction reaction_taken_back", "Reaction"),
    "order": ("order_placed", "order", "Cart"),
    "edit": ("edited", "edit", "Edit"),
    "revoke": ("deleted", "revoke", "revocation"),
    "system": (
        "unknown",
        "system_number_changed system_user_id_changed system_identity_changed",
        "``system:…``",
    ),
    "unsupported": ("unknown", "unsupported unheard_of", "``unsupported``"),
    "request_welcome": ("referral", "request_welcome", "``request_welcome``"),
    "group_id": ("message", "group_text", "A group"),
    "business-scoped ids": (
        "message",
        "person_by_contact person_by_user_id person_without_number ids_as_numbers",
        "business-scoped id",
    ),
    "sent": ("receipt", "status_sent status_by_user_id status_in_group", "sent"),
    "delivered": ("receipt", "status_delivered", "delivered"),
    "read": ("receipt", "status_read", "read"),
    "played": ("receipt", "status_played", "played"),
    "failed": ("receipt", "status_failed status_failed_for_nothing", "failed"),
    "other statuses": ("unknown", "status_unheard_of", "Everything else"),
    "message_echoes": ("echo", "echo_of_the_app", "``echo``"),
    "user_preferences": ("optin", "preference_stop", "``user_preferences``"),
    "user_id_update": ("unknown", "user_id_update", "``user_id_update``"),
    "calls": ("unknown", "call", "``calls:…``"),
    "groups": ("unknown", "group_update", "``groups:…``"),
    "errors": ("unknown", "account_errors", "Everything else"),
    "other fields and objects": (
        "unknown",
        "other_field other_object entry_without_changes",
        "Everything else",
    ),
    "other numbers, batches": ("message", "number_not_configured bad_items_between_good_ones", "Text"),
}
INCOMING = {"facebook": MESSENGER_IN, "instagram": INSTAGRAM_IN, "whatsapp": WHATSAPP_IN}
MESSENGER_OUT = {
    # kind: (fixtures, words of the documentation)
    "text": ("text text_in_two refused_text", "2000 characters"),
    "quick replies": ("quick_replies quick_replies_asking", "Quick replies"),
    "media": ("image audio video file image_by_id", "Image, audio, video, file"),
    "several images": ("several_images refused_images", "Several images"),
    "sticker": ("sticker", "Sticker"),
    "button": (
        "template_button button_account_linking refused_four_buttons refused_payload refused_phone",
        "Buttons",
    ),
    "generic": ("template_generic refused_title refused_title_alone", "Cards"),
    "media template": ("template_media refused_media", "``media``"),
    "receipt": ("template_receipt refused_receipt", "``receipt``"),
    "coupon": ("template_coupon refused_coupon", "``coupon``"),
    "product": ("template_product", "``product``"),
    "image_grid": ("template_image_grid refused_grid", "``image_grid``"),
    "customer_feedback": ("template_customer_feedback refused_question", "``customer_feedback``"),
    "customer_information": ("template_customer_information", "``customer_information``"),
    "instant_form": ("template_instant_form", "``instant_form``"),
    "one_time_notif_req": ("template_one_time_request", "``one_time_notif_req``"),
    "notification_messages": ("template_notification_messages", "``notification_messages``"),
    "removed templates": ("refused_template_gone", "Templates"),
    "utility": ("utility", "Utility message"),
    "persona": ("persona", "``persona_id``"),
    "reply_to": ("reply_to", "``reply_to``"),
    "reaction": ("reaction", "Reaction"),
    "tags": ("tag_human_agent refused_tag", "``HUMAN_AGENT``"),
    "notification_type": ("silent", "``notification_type``"),
    "thread_control": ("handing_over", "``thread_control``"),
    "recipients": (
        "to_user_ref to_comment_id to_post_id to_phone_number to_notification_messages_token"
        " to_one_time_notif_token",
        "``one_time_notif_token:…``",
    ),
    "location": ("location_in_words", "Location"),
}
INSTAGRAM_OUT = {
    "text": ("text text_of_bytes refused_text", "1000 bytes"),
    "quick replies": ("quick_replies quick_replies_that_only_ask refused_asking", "Quick replies"),
    "media": ("image video audio file", "Image, audio, video, file"),
    "several images": ("several_images refused_images", "several images"),
    "MEDIA_SHARE": ("own_post", "``MEDIA_SHARE``"),
    "like_heart": ("like_heart", "``like_heart``"),
    "button": ("template_button button_that_calls_in_words refused_call", "Buttons"),
    "generic": ("template_generic", "Cards"),
    "product": ("template_product refused_template", "products"),
    "notification_messages": ("template_notification_messages", "``notification_messages``"),
    "reply_to": ("reply_to", "Custom"),
    "reaction": ("reaction", "reactions"),
    "tags": ("tag_human_agent refused_tag", "``HUMAN_AGENT``"),
    "private reply": ("private_reply", "Private reply"),
}


class KindTests(SynchronousTestCase):
    def test_every_kind_that_comes_in_has_its_fixtures_its_event_and_its_row(self) -> None:
        for platform, kinds in INCOMING.items():
            for kind, (type_, fixtures, words) in kinds.items():
                self.assertIn(type_, EVENT_TYPES, kind)
                for name in fixtures.split():
                    types = self.types(platform, self.fixture(platform, name)["body"])
                    self.assertIn(type_, types, f"{platform}: {kind}: {name}")
                self.assertIn(words, self.page(platform), f"{platform}: {kind}")

    def test_every_kind_that_goes_out_has_its_fixtures_and_its_row(self) -> None:
        for platform, kinds in (("facebook", MESSENGER_OUT), ("instagram", INSTAGRAM_OUT)):
            for kind, (fixtures, words) in kinds.items():
                for name in fixtures.split():
                    self.assertTrue(self.fixture(f"{platform}_out", name)["source"].startswith("Meta, "))
                self.assertIn(words, self.page(platform), f"{platform}: {kind}")

    def test_no_fixture_is_without_a_kind(self) -> None:
        tables: dict[str, Mapping[str, Any]] = {
            **INCOMING,
            "facebook_out": MESSENGER_OUT,
            "instagram_out": INSTAGRAM_OUT,
        }
        for folder, kinds in tables.items():
            named = {name for row in kinds.values() for name in row[-2].split()}
            there = {file.stem for file in (FIXTURES / folder).glob("*.json")}
            self.assertEqual(there - named, set(), folder)

    def types(self, platform: str, body: Any) -> set[str]:
        """The types of the events that a body is."""
        keys = {"facebook": "page_tokens", "instagram": "accounts", "whatsapp": "phone_numbers"}
        made = {"facebook": FacebookInput, "instagram": InstagramInput, "whatsapp": WhatsAppInput}[platform]
        channel: Any = made(
            "v", "s", **{keys[platform]: {account: f"token-of-{account}" for account in OURS}}
        )
        request = WebhookRequest(method="POST", path="", body=json.dumps(body).encode())
        return {event.kind for event in channel.parse(request).events}

    def fixture(self, folder: str, name: str) -> Any:
        file = FIXTURES / folder / f"{name}.json"
        self.assertTrue(file.exists(), f"no fixture {folder}/{name}")
        return json.loads(file.read_bytes())

    def page(self, platform: str) -> str:
        """The documentation's page, its lines joined."""
        return " ".join((ROOT / "docs" / "channels" / f"{platform}.rst").read_text(encoding="utf-8").split())
