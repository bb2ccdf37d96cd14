"""Packaging. Metadata stays here; the tools' tables are in pyproject.toml."""

from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
MARKDOWN_NEEDS = ["markdown-it-py>=4.3"]
POSTGRES_NEEDS = ["psycopg[binary]>=3.2.4"]
METRICS_NEEDS = ["prometheus-client>=0.22"]
TEST_NEEDS = ["setuptools>=68", "hypothesis>=6.100", *MARKDOWN_NEEDS, *POSTGRES_NEEDS, *METRICS_NEEDS]
# The vendors' own libraries, as judges: tests that need one say so where it is not installed.
ORACLE_NEEDS = [
    "twilio>=9.13",
    "twilio-agent-connect>=2.5",
    "slack_sdk>=3.48",
    "python-telegram-bot>=22.8",
]
CHECK_NEEDS = [
    "ruff==0.17.6",
    "mypy==2.4.1",
    "mypy-zope==1.0.17",
    "types-PyYAML",
    "towncrier>=24.8",
    "build",
    "docutils>=0.21",
]

setup(
    name="klein_channels",
    version="0.1.0",
    description="Connects a conversational AI to messaging platforms, durably and in order.",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    license="Apache-2.0",
    python_requires=">=3.11",
    # Without package_dir an editable install is a finder that Twisted's plugin search does not see.
    package_dir={"": "."},
    # By hand: twisted/ has no __init__.py, so find_packages would leave the plugin out.
    packages=[
        "klein_channels",
        "klein_channels.agents",
        "klein_channels.channels",
        "klein_channels.markdown",
        "klein_channels.meta",
        "klein_channels.slack",
        "klein_channels.store",
        "klein_channels.telegram",
        "klein_channels.testing",
        "klein_channels.twilio",
        "klein_channels.whatsapp",
        "klein_channels.web",
        "twisted.plugins",
    ],
    package_data={"klein_channels": ["py.typed", "*.yml", "store/*.sql"]},
    install_requires=[
        "Twisted[tls,websocket]>=26.10",
        "klein>=24.8",
        "treq>=26.7",
        "service-identity>=24.2",
        "msgspec>=0.20",
        "PyYAML>=6.0.2",
        "click>=8.1.8",
    ],
    extras_require={
        "markdown": MARKDOWN_NEEDS,
        "postgres": POSTGRES_NEEDS,
        "metrics": METRICS_NEEDS,
        "test": TEST_NEEDS,
        "oracles": ORACLE_NEEDS,
        "check": TEST_NEEDS + CHECK_NEEDS,
        "bench": ["sanic>=25.3", "aiohttp>=3.12"],
    },
    entry_points={"console_scripts": ["klein-channels = klein_channels.cli:main"]},
    classifiers=[
        "Framework :: Twisted",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Communications :: Chat",
        "Typing :: Typed",
    ],
)
