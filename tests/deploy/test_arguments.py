"""The pods' command lines, read by the program's own parser."""

from __future__ import annotations

import click
import pytest

from onehop.cli.main import main
from tests.deploy.objects import Object
from tests.deploy.test_chart import containers


@pytest.mark.parametrize(("pod", "container"), tuple(containers("containers")))
def test_the_program_understands_its_arguments(
    pod: Object, container: Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag that it lacks would end it at once."""
    command, *arguments = container["args"]
    subcommand = main.get_command(click.Context(main), command)
    assert subcommand is not None
    for each in container["env"]:
        monkeypatch.setenv(each["name"], "it")
    with subcommand.make_context(command, arguments) as context:
        assert context.params
