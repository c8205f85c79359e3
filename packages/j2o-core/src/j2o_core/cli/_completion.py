"""`j2o completion`: a script for a shell, written from the commands and their options."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from ._output import show

# Behind a command its options; behind an option with choices these; else the names of files, as `-o default` says.
_BASH = """\
_j2o() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" words=""
    case "${{COMP_WORDS[1]}} ${{COMP_WORDS[COMP_CWORD-1]}}" in
{choices}
        *) case "$COMP_CWORD ${{COMP_WORDS[1]}}" in
            "1 "*) words="{commands}" ;;
{options}
        esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _j2o j2o"""
_ZSH = """\
(( $+functions[compdef] )) || { autoload -U compinit && compinit }
autoload -U +X bashcompinit && bashcompinit
"""


def completion(options: argparse.Namespace) -> None:
    """`j2o completion`."""
    script = {"bash": _bash, "zsh": lambda parser: _ZSH + _bash(parser), "fish": _fish}[options.shell](options.parser)
    if options.json:
        show([("completion", [(options.shell, script)])], as_json=True)
        return
    print(script)


def _commands(parser: argparse.ArgumentParser) -> dict[str, tuple[str, list[Any]]]:
    """The help and the options of each command."""
    (found,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    helps = {choice.dest: choice.help or "" for choice in found._choices_actions}
    return {name: (helps[name], command._actions) for name, command in found.choices.items()}


def _bash(parser: argparse.ArgumentParser) -> str:
    commands = _commands(parser)
    choices, options = [], []
    for name, (_, actions) in commands.items():
        flags = [flag for action in actions for flag in action.option_strings]
        positional = [choice for action in actions if not action.option_strings for choice in action.choices or ()]
        options.append(f'            *" {name}") words="{" ".join([*positional, *flags])}" ;;')
        for action in actions:
            if action.choices and action.option_strings:
                words = " ".join(map(str, action.choices))
                choices += [f'        "{name} {flag}") words="{words}" ;;' for flag in action.option_strings]
    return _BASH.format(choices="\n".join(choices), commands=" ".join(commands), options="\n".join(options))


def _fish(parser: argparse.ArgumentParser) -> str:
    return "\n".join(_fish_lines(parser))


def _fish_lines(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield "complete -c j2o -n __fish_use_subcommand -f"
    for name, (about, actions) in _commands(parser).items():
        yield f"complete -c j2o -n __fish_use_subcommand -a {name} -d {_quoted(about)}"
        for action in actions:
            line = f"complete -c j2o -n '__fish_seen_subcommand_from {name}'"
            for flag in action.option_strings:
                line += f" -l {flag[2:]}" if flag.startswith("--") else f" -s {flag[1:]}"
            if action.choices:
                line += f" -f -a '{' '.join(map(str, action.choices))}'"
            if action.option_strings and action.nargs != 0:
                line += " -r"
            if action.option_strings or action.choices:
                yield f"{line} -d {_quoted(action.help or '')}"


def _quoted(text: str) -> str:
    first = text.replace("\n", " ").partition(". ")[0].replace("\\", "\\\\").replace("'", "\\'")
    return f"'{first}'"
