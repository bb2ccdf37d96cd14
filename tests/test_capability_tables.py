"""The tables of what each platform can show say what the code says."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import Capabilities, known_types

from .capability_tables import BEGIN, END, PAGES, pages, table_of, with_table


class Bare:
    capabilities = Capabilities(buttons=2, button_links=False, answers_only=True, cards=1)


class TableTests(SynchronousTestCase):
    def test_every_platforms_table_is_what_its_capabilities_say(self) -> None:
        for path, text in pages():
            self.assertEqual(
                path.read_text("utf-8"), text, f"{path.name}: run python -m tests.capability_tables"
            )

    def test_every_platform_has_one(self) -> None:
        for name in known_types():
            page = (PAGES / f"{name}.rst").read_text("utf-8")
            self.assertEqual((page.count(BEGIN), page.count(END)), (1, 1), name)

    def test_a_page_without_one_gets_it_once(self) -> None:
        page = with_table("Title\n=====\n", table_of(Bare))
        self.assertIn("2, titles of 20 characters, under 640 characters of text; none with links", page)
        self.assertEqual(with_table(page, table_of(Bare)), page)
