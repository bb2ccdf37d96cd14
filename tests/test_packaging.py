"""What is packed is what is there: a sub-package that is not listed is missing from the wheel alone."""

import ast
import runpy
from fnmatch import fnmatch
from pathlib import Path
from unittest import mock

from twisted.application.service import IServiceMaker
from twisted.trial.unittest import SynchronousTestCase

import klein_channels

ROOT = Path(klein_channels.__file__).parent.parent
PLUGINS = ROOT / "twisted" / "plugins"
PLUGIN = PLUGINS / "klein_channels_plugin.py"


def metadata():
    """What setup.py hands to setuptools."""
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"), run_name="__main__")
    return setup.call_args.kwargs


class PackageTests(SynchronousTestCase):
    def test_every_folder_with_modules_is_listed_and_no_other(self):
        folders = {path.parent for path in (ROOT / "klein_channels").rglob("*.py")} | {PLUGINS}
        found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
        listed = metadata()["packages"]
        self.assertEqual(set(listed), found)
        self.assertEqual(len(listed), len(set(listed)))

    def test_every_file_that_is_no_module_is_listed(self):
        patterns = metadata()["package_data"]["klein_channels"]
        package = ROOT / "klein_channels"
        others = [
            str(path.relative_to(package))
            for path in package.rglob("*")
            if path.is_file() and path.suffix not in (".py", ".pyc", ".pyo")
        ]
        self.assertIn("py.typed", others)
        self.assertTrue(any(name.endswith(".sql") for name in others))
        self.assertEqual([o for o in others if not any(fnmatch(o, pattern) for pattern in patterns)], [])

    def test_yaml_would_be_packed(self):
        patterns = metadata()["package_data"]["klein_channels"]
        self.assertTrue(any(fnmatch("defaults.yml", pattern) for pattern in patterns))

    def test_an_editable_install_is_visible_to_twistd(self):
        self.assertEqual(metadata()["package_dir"], {"": "."})

    def test_the_version_is_the_packages(self):
        self.assertEqual(metadata()["version"], klein_channels.__version__)

    def test_the_command_is_there(self):
        for command in metadata()["entry_points"]["console_scripts"]:
            module, _, attribute = command.partition("=")[2].strip().partition(":")
            self.assertTrue(callable(getattr(__import__(module, fromlist=["_"]), attribute)))


class PluginTests(SynchronousTestCase):
    def test_twisted_itself_is_not_shadowed(self):
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py")), [])
        self.assertEqual(list((ROOT / "twisted").rglob("*.py")), [PLUGIN])

    def test_the_plugin_imports_nothing_of_ours(self):
        tree = ast.parse(PLUGIN.read_text(encoding="utf-8"))
        imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        self.assertEqual(
            [ast.unparse(node) for node in imported], ["from twisted.application.service import ServiceMaker"]
        )

    def test_the_plugin_makes_the_service_of_tap(self):
        maker = runpy.run_path(str(PLUGIN))["channels"]
        self.assertTrue(IServiceMaker.providedBy(maker))
        self.assertEqual((maker.tapname, maker.module), ("channels", "klein_channels.tap"))
        self.assertTrue(callable(maker.makeService))
        self.assertTrue(callable(maker.options))
