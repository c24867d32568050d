"""Flags that torchrun takes for abbreviations of its own have another name, for what runs under it."""

from importlib import import_module
from typing import get_type_hints

import pytest
from torch.distributed.run import get_args_parser

from simflow.cli import COMMANDS, module_of

COLLECTIVE = ("train", "sample", "evaluate", "stats", "study", "classify", "analyze", "plan")
OPTIONS = [option for action in get_args_parser()._actions for option in action.option_strings]


def taken(flag: str) -> bool:
    """Whether torchrun would keep a flag for itself: it is, or abbreviates, one of its options."""
    return any(option == flag or (flag.startswith("--") and option.startswith(flag)) for option in OPTIONS)


def names_of(arguments: type) -> dict[str, list[str]]:
    """Every field of a command's arguments with all names of its flag; those of nested groups as well."""
    found: dict[str, list[str]] = {}
    for name, hint in get_type_hints(arguments, include_extras=True).items():
        marks = getattr(hint, "__metadata__", ())
        if any("positional" in str(mark).lower() for mark in marks):
            continue
        aliases = [alias for mark in marks for alias in getattr(mark, "aliases", None) or ()]
        group = getattr(hint, "__origin__", hint)
        if hasattr(group, "__dataclass_fields__"):
            found |= names_of(group)
        else:
            found[name] = [f"--{name.replace('_', '-')}", *aliases]
    return found


@pytest.mark.parametrize("command", COLLECTIVE)
def test_every_flag_has_a_name_that_torchrun_leaves_alone(command):
    assert command in COMMANDS
    arguments = import_module(f"simflow.cli.{module_of(command)}").Arguments
    names = names_of(arguments)
    assert len(names) > 3
    assert [flags for flags in names.values() if all(taken(flag) for flag in flags)] == []


def test_what_torchrun_takes():
    assert taken("--num")
    assert taken("--log")
    assert not taken("-n")
    assert not taken("--out")
