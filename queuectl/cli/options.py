"""What the verbs share: the options that every one takes, the types that read values, ids from words or stdin.

Values are read by the rules' own readers (`clock`, `config`, `job`), so that the command line, the job file and
`config.toml` accept the same spellings and refuse with the same words.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from queuectl.errors import AmbiguousId, QueuectlError, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from queuectl.queue import Queue

    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # not generic at run time in every click that we accept

_COMMON = ("--spool", "--color")


def common_options() -> list[click.Parameter]:
    """Return the options that stand before or after any verb; the innermost one given wins."""

    def remember(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.meta[f"queuectl.{param.name}"] = value

    return [
        click.Option(
            ["--spool"], metavar="DIR", expose_value=False, callback=remember, help="The spool directory to use."
        ),
        click.Option(
            ["--color"],
            type=click.Choice(["auto", "always", "never"]),
            expose_value=False,
            callback=remember,
            help="Colour the output; auto: on a terminal, unless NO_COLOR is set.",
        ),
    ]


def _marked(text: str | None) -> str | None:
    """Put click's mark of a block that keeps its lines, a backspace, where a raw docstring has backslash and b."""
    return text and text.replace("\\b\n", "\b\n")


class Verb(click.Command):
    """A verb, with the common options after its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += common_options()
        self.help = _marked(self.help)


class Tree(click.Group):
    """A group whose errors name the nearest verb, and whose help on no words at all is a usage error."""

    command_class = Verb

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words up to the verb."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb that the first word names."""
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            from queuectl.job import nearest

            raise click.UsageError(f"no such command {args[0]!r}{nearest(args[0], self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)


class Family(Tree):
    """Verbs with a first name in common; without a second name the `default` one is meant.

    With `takes_words`, a word that is no second name is the default verb's: `logs ID` is `logs show ID`.
    """

    def __init__(self, *args: Any, default: str, takes_words: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += common_options()
        self.help = _marked(self.help)
        self.default = default
        self.takes_words = takes_words

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words up to the second name, and put the default one where it is missing."""
        at = self._after_common(args)
        missing = at >= len(args) or (args[at] not in self.commands and args[at] != "--help")
        if missing and not ctx.resilient_parsing:
            word = args[at] if at < len(args) else "-"
            if word.startswith("-") or self.takes_words:
                args = [*args[:at], self.default, *args[at:]]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the second names, and the words that the default one takes."""
        found = super().shell_complete(ctx, incomplete)
        if self.takes_words and not incomplete.startswith("-"):
            for param in self.commands[self.default].params:
                if isinstance(param, click.Argument):
                    found += param.shell_complete(ctx, incomplete)
        return found

    def _after_common(self, args: Sequence[str]) -> int:
        at = 0
        while at < len(args):
            if args[at] in _COMMON:
                at += 2
            elif args[at].startswith(tuple(f"{name}=" for name in _COMMON)):
                at += 1
            else:
                break
        return at


class Reader(_ParamType):
    """A type that reads its value with a function that raises `UsageError`."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the value; fail in click's way, with the hint in the same line."""
        try:
            return self._read(value) if isinstance(value, str) else value
        except UsageError as error:
            self.fail(f"{error}; {error.hint}" if error.hint else str(error), param, ctx)


def _duration(text: str) -> float:
    from queuectl import clock

    return clock.parse_duration(text)


def _instant(text: str) -> int:
    from queuectl import clock

    return clock.parse_time(text, clock.now())


def _priority(text: str) -> int:
    from queuectl import job

    return job.parse_priority(text)


DURATION = Reader("DUR", _duration)
INSTANT = Reader("TIME", _instant)
PRIORITY = Reader("N", _priority)


def setting(key: str) -> Reader:
    """Return the type of a config key, for an option that stands for it."""

    def read(text: str) -> Any:
        from queuectl import config

        return config.read_value(key, text)

    return Reader("N", read)


json_option = click.option("--json", "as_json", is_flag=True, help="Show one JSON document.")
wide_option = click.option("--wide", is_flag=True, help="Show whole commands, however long.")


def _complete_id(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the ids that begin with what has been typed; nothing when there is no spool."""
    from click.shell_completion import CompletionItem

    from queuectl.cli.context import open_queue

    try:
        return [CompletionItem(found) for found in open_queue().resolve([incomplete])]
    except AmbiguousId as several:
        return [CompletionItem(found) for found in several.candidates]
    except (QueuectlError, OSError):
        return []


one_id = click.argument("id", metavar="ID", shell_complete=_complete_id)
some_ids = click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=_complete_id)
any_ids = click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=_complete_id)


def words_of(ids: Iterable[str]) -> list[str]:
    """Put the ids that stdin holds in the place of `-`: the first field of each line, each id once."""
    found: list[str] = []
    for word in ids:
        if word == "-":
            found += [line.split()[0] for line in sys.stdin if line.strip()]
        else:
            found.append(word)
    if "" in found:
        raise UsageError("an id is empty")  # as a prefix it would mean whatever job there is
    return list(dict.fromkeys(found))


def resolve_one(queue: Queue, id: str) -> str:
    """Return the id that a prefix, or the only line of stdin, means."""
    words = words_of([id])
    if len(words) != 1:
        raise UsageError(f"one id is wanted, stdin holds {len(words)}")
    return queue.resolve(words)[0]
