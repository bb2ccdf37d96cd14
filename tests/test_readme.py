"""The README's two commands, its bot and its sample."""

from twisted.trial.unittest import SynchronousTestCase

from .snippets import ROOT, in_language, snippets

README = ROOT / "README.rst"
BLOCKS = list(snippets(README))


class ReadmeTests(SynchronousTestCase):
    def test_its_first_two_commands_are_all_there_is_to_do(self):
        first = next(block for block in BLOCKS if block.language == "console")
        self.assertEqual(
            first.text.splitlines(),
            [
                "$ pip install . && klein-channels demo",
                "$ pip install '.[test]' && python -m twisted.trial tests",
            ],
        )

    def test_they_are_on_the_first_screen(self):
        first = next(block for block in BLOCKS if block.language == "console")
        self.assertLess(first.line, 30)

    def test_its_bot_is_the_example(self):
        example = (ROOT / "examples" / "mybot.py").read_text(encoding="utf-8")
        self.assertIn(example, [block.text for block in BLOCKS])
        self.assertLessEqual(len(example.splitlines()), 10)

    def test_its_sample_is_the_one_that_is_explained(self):
        explained = next(block for block in in_language("python") if block.page == "docs/connectors.rst")
        self.assertIn(explained.text, [block.text for block in BLOCKS])
