"""What the API can do for an animation, `animato animate` can do without it, and both by the same names."""

from __future__ import annotations

from typing import Any

import click
import pytest

from animato import main
from api.app import create_app
from api.file_parts import FILE_PARTS, MOTION, URL_FIELDS
from api.settings import ApiSettings
from api.webhook_form import WEBHOOK_FIELDS
from worker.settings import Settings

ARGUMENTS = {*FILE_PARTS, *URL_FIELDS.values()}
"""What commands take as SOURCE and DRIVING."""


@pytest.fixture(scope="module")
def form() -> dict[str, Any]:
    """The fields of `POST /animations`, where everything is enabled."""
    settings = ApiSettings(webhooks_enabled=True, input_url_hosts="media.example.org")
    operation = create_app(Settings(), settings).openapi()["paths"]["/animations"]["post"]
    return operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]


def options_of(command: str) -> dict[str, click.Option]:
    """The options of a command by the names of their flags: `--source-crop` is `source_crop`."""
    params = main.commands[command].params
    return {
        flag.removeprefix("--").replace("-", "_"): param
        for param in params
        if isinstance(param, click.Option)
        for flag in param.opts
    }


def test_every_field_is_an_option_of_the_commands(form: dict[str, Any]) -> None:
    fields = set(form) - ARGUMENTS
    assert fields - set(options_of("submit")) == set()
    # Nobody waits for what runs here, so nobody has to be told of its end.
    for command in ("animate", "preflight"):
        assert fields - set(WEBHOOK_FIELDS) - set(options_of(command)) == set()


def test_both_commands_mean_the_same(form: dict[str, Any]) -> None:
    here, there = options_of("animate"), options_of("submit")
    # A motion is a file here and an id there.
    for name in set(form) - ARGUMENTS - set(WEBHOOK_FIELDS) - {MOTION}:
        assert here[name].name == there[name].name == name
        assert here[name].default == there[name].default, name
        assert here[name].to_info_dict()["type"] == there[name].to_info_dict()["type"], name


def test_defaults_are_those_of_the_form(form: dict[str, Any]) -> None:
    params = main.commands["animate"].make_context("animate", ["a.png", "b.mp4", "-o", "c.mp4"]).params
    for name, value in params.items():
        # The format follows from the name of the result, unless it is given.
        if name in form and name != "format" and form[name].get("default") is not None:
            assert value == form[name]["default"], name
