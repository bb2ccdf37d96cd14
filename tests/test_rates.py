"""Rates as configurations state them."""

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.model import Audio, Buttons, Text, Video
from klein_channels.rates import Rate, kind_of


class RateTests(SynchronousTestCase):
    def test_what_would_never_send_is_refused(self):
        for wrong in ({"count": 0}, {"count": 1, "seconds": 0}, {"count": 1, "burst": 0.5}, {"count": "nan"}):
            with self.assertRaises(ValueError):
                Rate(**{key: float(value) for key, value in wrong.items()})
        with self.assertRaisesRegex(ValueError, "no kind 'vidoe'.*video"):
            Rate(count=1, kinds=("vidoe",))

    def test_kinds_of_parts(self):
        parts = (Text(text="x"), Video(url="u"), Audio(url="u"), Buttons(text="x", buttons=()))
        self.assertEqual([kind_of(part) for part in parts], ["text", "video", "audio", "other"])
