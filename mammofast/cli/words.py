"""Words that several commands read from their options, and say."""

import json
import re
from typing import Any

import click


def counted(n: int, one: str, several: str | None = None) -> str:
    """Return how many there are: "1 volume", "2 volumes". several: where it is not ``one`` and an s."""
    return f"{n} {one if n == 1 else several or f'{one}s'}"


def read_value(text: str) -> Any:
    """Return what is JSON as what it says, and other words as they are."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_size(text: str) -> tuple[int, int]:
    """Return rows and columns of "ROWSxCOLS".

    Raises
    ------
    click.UsageError
        When it is no size.

    """
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", text):
        raise click.UsageError(f"--size {text}: expected ROWSxCOLS, such as 512x256")
    rows, cols = map(int, text.split("x"))
    return rows, cols
