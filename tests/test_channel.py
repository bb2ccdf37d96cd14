"""How a channel is found: built in, installed, or by its path; and one line where it is not."""

import importlib.metadata
import sys
import types

from twisted.trial.unittest import SynchronousTestCase

from klein_channels import channel as looking
from klein_channels.channel import (
    Answers,
    Channel,
    ChannelOptions,
    Live,
    RenewsKeys,
    Resolves,
    Triggers,
    find_channel_class,
    known_types,
    nearest,
)
from klein_channels.channels.facebook import FacebookInput
from klein_channels.errors import ConfigError

from .doubles import PlainChannel


class EntryPoint:
    """An installed distribution's word."""

    def __init__(self, name, loaded):
        self.name = name
        self.load = lambda: loaded


class LookUpTests(SynchronousTestCase):
    def wrong(self, name):
        with self.assertRaises(ConfigError) as caught:
            find_channel_class(name)
        line = str(caught.exception)
        self.assertNotIn("\n", line)
        return line

    def installed(self, *points):
        def entry_points(group, name=None):
            self.assertEqual(group, looking.ENTRY_POINTS)
            return [point for point in points if name in (None, point.name)]

        self.patch(importlib.metadata, "entry_points", entry_points)

    def test_built_in_and_by_path(self):
        path = "klein_channels.channels.facebook"
        for name in ("facebook", f"{path}.FacebookInput", f"{path}:FacebookInput"):
            self.assertIs(find_channel_class(name), FacebookInput)

    def test_an_installed_one_is_found_before_a_built_in_one(self):
        self.installed(EntryPoint("facebook", PlainChannel), EntryPoint("mine", PlainChannel))
        self.assertIs(find_channel_class("mine"), PlainChannel)
        self.assertIs(find_channel_class("facebook"), PlainChannel)
        self.assertIn("mine", known_types())

    def test_a_typo_names_its_neighbour_and_a_stranger_all_there_are(self):
        self.assertIn("did you mean 'facebook'?", self.wrong("facebok"))
        self.assertIn("facebook", self.wrong("zzzzzzzz"))

    def test_names_of_nothing(self):
        for name in ("", "__init__", "Facebook", "../facebook", "face book", "\0", "ü", "a" * 1000):
            with self.subTest(name=name[:20]):
                self.wrong(name)

    def test_what_is_no_channel_is_said_at_once(self):
        module = types.ModuleType("module_of_no_channels")
        module.thing = object()
        sys.modules[module.__name__] = module
        self.addCleanup(sys.modules.pop, module.__name__)
        self.assertIn("is no channel", self.wrong("module_of_no_channels:thing"))
        self.assertIn("cannot be imported", self.wrong("module_of_no_channels:nothing"))

    def test_a_platform_whose_library_is_missing_is_not_called_unknown(self):
        module = types.ModuleType("klein_channels.channels")
        module.__path__ = []
        self.patch(looking.importlib, "import_module", self.missing_library)
        with self.assertRaises(ModuleNotFoundError):
            find_channel_class("needy")

    def missing_library(self, name):
        raise ModuleNotFoundError("No module named 'jwt'", name="jwt")


class NearestTests(SynchronousTestCase):
    def test_a_guess_or_everything(self):
        self.assertEqual(nearest("secrt", ["verify", "secret"]), " (did you mean 'secret'?)")
        self.assertEqual(nearest("zzz", ["verify", "secret"]), " (known: secret, verify)")
        self.assertEqual(nearest("", []), " (known: )")


class AbilityTests(SynchronousTestCase):
    def test_abilities_are_told_by_what_a_channel_has(self):
        plain = PlainChannel()
        self.assertIsInstance(plain, Channel)
        for ability in (Live, Resolves, RenewsKeys, Answers, Triggers):
            self.assertNotIsInstance(plain, ability)
        facebook = FacebookInput("v", "s", "t")
        for ability in (Channel, Live, Triggers):
            self.assertIsInstance(facebook, ability)

    def test_options_hold_only_what_is_known(self):
        with self.assertRaises(TypeError):
            ChannelOptions(colour="red")
