"""Which command lines need no shell (pure), as make(1) does it: the same effect with one program started, not two.

Any quoting, expansion, redirection, operator, comment, assignment, reserved word or builtin goes to `/bin/sh`. What is
left is words and blanks, which the shell would only have split.
"""

from __future__ import annotations

import re

SHELL = "/bin/sh"

# No character here means anything to a POSIX shell inside a word.
_plain = re.compile(r"[A-Za-z0-9_@%+=:,./\- \t]+").fullmatch

# Reserved words and builtins of POSIX, dash, bash, ksh and busybox ash, whatever /bin/sh may be.
_SHELL_WORDS = frozenset(
    "alias autoload bg bind break builtin caller case cd chdir command compgen complete compopt continue coproc "
    "declare dirs disown do done echo elif else enable esac eval exec exit export false fc fg fi for function "
    "functions getconf getopts global hash help hist history if in integer jobs kill let local logout mapfile nohup "
    "namespace newgrp nameref popd print printf pushd pwd read readarray readonly return select set shift shopt sleep "
    "source stop suspend test then time times trap true type typeset ulimit umask unalias unset until wait whence "
    "which while".split()
)


def line(command: str) -> list[str]:
    """Return the program and its arguments that run a command line."""
    return [SHELL, "-c", "--", command]


def words(command: str) -> list[str] | None:
    """Return the words of a command line that needs no shell, None for one that does."""
    if not _plain(command):
        return None
    found = command.split()
    if not found or "=" in found[0] or found[0] in _SHELL_WORDS or found[0][0] == "%" or found[0] in (".", ":"):
        return None
    return found
