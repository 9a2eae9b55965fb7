"""`completion`: the script that teaches a shell to complete verbs, options, ids and keys."""

from __future__ import annotations

import click

from queuectl.cli import output
from queuectl.cli.options import Verb


@click.command("completion", cls=Verb)
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    r"""Print the completion script of a shell.

    \b
      bash:  eval "$(queuectl completion bash)"        in ~/.bashrc
      zsh:   eval "$(queuectl completion zsh)"         in ~/.zshrc
      fish:  queuectl completion fish > ~/.config/fish/completions/queuectl.fish
    """
    from click.shell_completion import ShellComplete, get_completion_class

    from queuectl.cli.app import root

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    script = kind(root, {}, "queuectl", "_QUEUECTL_COMPLETE")
    # The base class's method: bash's own first runs a bash to ask for its version.
    output.line(ShellComplete.source(script).rstrip())
