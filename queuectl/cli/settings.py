"""`config`: the settings of a spool, where each value comes from, and how to change one.

A key and its value are checked before the spool is looked for, so that a bad one never makes a spool.
"""

from __future__ import annotations

from typing import Any

import click

from queuectl import config
from queuectl.cli import output
from queuectl.cli.context import open_queue
from queuectl.cli.options import Family, json_option

# A value may be a negative number, to be refused with its range and not as an unknown option.
_DASHES = {"ignore_unknown_options": True}


@click.group("config", cls=Family, default="show")
def settings() -> None:
    r"""Show and change the settings of the spool.

    Keys take `-` or `_`. A job's own fields win over the environment (QUEUECTL_MAX_RETRIES), which wins over the
    spool's config.toml.

    \b
      queuectl config
      queuectl config set max-retries 5
      queuectl config get backoff-base
    """


@settings.command("show")
@click.option("--key", metavar="K", help="Only this key; with --value, set it.")
@click.option("--value", metavar="V", help="The new value of --key.")
@json_option
def show(key: str | None, value: str | None, as_json: bool) -> None:
    r"""Show every setting and where it comes from.

    \b
      queuectl config show
      queuectl config --key max_retries
      queuectl config --key max_retries --value 5
    """
    if value is not None and key is None:
        raise click.UsageError("--value needs --key")
    if key is not None:
        if value is None:
            _get(key, as_json=as_json)
        else:
            _set(key, value, as_json=as_json)
        return
    queue = open_queue()
    found = queue.config()
    values = {name: getattr(found, name) for name in config.KEYS}
    if as_json:
        output.document(values)
        return
    sources = _sources(queue.configured())
    output.table(("KEY", "VALUE", "SOURCE"), [[name, _spelt(values[name]), sources[name]] for name in config.KEYS])


@settings.command("get")
@click.argument("key", metavar="K")
@json_option
def get(key: str, as_json: bool) -> None:
    r"""Show the value of one setting.

    \b
      queuectl config get max-retries
    """
    _get(key, as_json=as_json)


@settings.command("set", context_settings=_DASHES)
@click.argument("key", metavar="K")
@click.argument("value", metavar="V")
@json_option
def set_(key: str, value: str, as_json: bool) -> None:
    r"""Set one key in the spool's config.toml.

    \b
      queuectl config set max-retries 5
      queuectl config set backoff-max 2h
    """
    _set(key, value, as_json=as_json)


@settings.command("unset")
@click.argument("key", metavar="K")
@json_option
def unset(key: str, as_json: bool) -> None:
    r"""Let the default of one setting hold again.

    \b
      queuectl config unset max-retries
    """
    name = config.key(key)
    queue = open_queue()
    queue.set_config(name, None)
    _confirm(name, getattr(queue.config(), name), as_json=as_json)


def _get(key: str, *, as_json: bool) -> None:
    name = config.key(key)
    value = getattr(open_queue().config(), name)
    if as_json:
        output.document({name: value})
    else:
        output.line(output.shown(_spelt(value)))


def _set(key: str, value: str, *, as_json: bool) -> None:
    name = config.key(key)
    config.read_value(name, value)
    queue = open_queue(create=True)
    _confirm(name, queue.set_config(name, value), as_json=as_json)
    if name in config.from_environment():
        output.note(f"{config.PREFIX}{name.upper()} in the environment wins over it here")


def _confirm(name: str, value: Any, *, as_json: bool) -> None:
    if as_json:
        output.document({name: value})
    else:
        output.line(f"{name} = {output.shown(_spelt(value))}")


def _spelt(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _sources(configured: dict[str, Any]) -> dict[str, str]:
    environment = config.from_environment()
    return {
        name: "environment" if name in environment else "config.toml" if name in configured else "default"
        for name in config.KEYS
    }
