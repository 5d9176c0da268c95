"""`kubectl onehop ...`, and completion in a shell for both names.

kubectl runs whatever is called `kubectl-onehop` on the PATH, and asks `kubectl_complete-onehop`,
where there is one, how a command line may go on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
from click.shell_completion import ShellComplete, get_completion_class

from onehop.cli.main import main

_VARIABLE = "_ONEHOP_COMPLETE"  # click's name for it: the program's own, as a shell may spell it
_NO_FILES = 4  # cobra's ShellCompDirectiveNoFileComp


def plugin(words: Sequence[str] | None = None) -> None:
    """Be `kubectl onehop`; `words` are those of the command line unless given."""
    main(words, prog_name="kubectl onehop")


def complete(words: Sequence[str] | None = None) -> None:
    """Print how `kubectl onehop WORDS...` may go on, as kubectl asks it of a plugin."""
    *before, incomplete = (sys.argv[1:] if words is None else words) or [""]
    shell = ShellComplete(main, {}, "onehop", _VARIABLE)
    for item in shell.get_completions(before, incomplete):
        click.echo(f"{item.value}\t{item.help}" if item.help else item.value)
    click.echo(f":{_NO_FILES}")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete onehop's command lines.

    \b
    bash: source <(onehop completion bash)
    zsh:  source <(onehop completion zsh)
    fish: onehop completion fish | source
    """  # noqa: D301  (click reads the backspace as: keep these lines)
    found = get_completion_class(shell)
    assert found is not None, "click knows the shells that the argument admits"
    click.echo(found(main, {}, "onehop", _VARIABLE).source())
