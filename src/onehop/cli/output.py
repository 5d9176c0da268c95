"""What a command prints for programs."""

from __future__ import annotations

import json

import click


def show(body: object, output: str) -> None:
    """Print plain values as `json` or as `yaml`: both hold the same."""
    text = json.dumps(body, indent=2)
    if output == "json":
        click.echo(text)
        return
    import yaml  # only where it is asked for: it costs a tenth of a start

    click.echo(yaml.safe_dump(json.loads(text), sort_keys=False), nl=False)
