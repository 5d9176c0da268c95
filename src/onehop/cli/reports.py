"""Where the speakers' reports are: in a folder here, or with the speakers of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from onehop.app.stores import StoreChoice, reach


@contextmanager
def reports(where: StoreChoice, node: str | None = None, *, needed: bool = True) -> Iterator[Path]:
    """A folder with the reports of all speakers, or of one node's.

    In a pod they are this node's own. Unless they are `needed`, a cluster whose speakers cannot
    be asked is one without reports.

    Raises:
        click.ClickException: when there are none and they are needed.
        StoreError: when nothing says which cluster.
    """
    if where.folder is not None or where.state_folder is not None:
        yield where.state
        return
    access = reach(where)
    if access.is_pod:
        yield where.state
        return
    from onehop.app.outside import OutsideError, mirrored, some_speakers

    with ExitStack() as stack:
        try:
            state, silent = stack.enter_context(mirrored(access, some_speakers(access, node)))
        except OutsideError as error:
            if needed:
                raise click.ClickException(str(error)) from error
            click.echo(f"Warning: the speakers cannot be asked: {error}", err=True)
            state, silent = where.state, {}
        for at, why in silent.items():
            click.echo(f"Warning: the speaker of {at} does not answer: {why}", err=True)
        yield state
