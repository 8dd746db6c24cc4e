"""The terminal while the story is played: a line a step, with its time; mails as they arrive."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text


class Stage:
    """Tells what happens.

    :ivar began: when it was made, on the monotonic clock.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self.began = time.monotonic()

    def scene(self, title: str) -> None:
        """A new part of the story."""
        self._console.print()
        self._console.print(Text(title, "bold"))

    @contextmanager
    def step(self, what: str) -> Iterator[list[str]]:
        """Something that takes a moment; what is put into the list is told behind it."""
        told: list[str] = []
        began = time.monotonic()
        with self._console.status(Text(what)):
            yield told
        line = Text.assemble(("  ✓ ", "green"), what)
        if told:
            line.append(f": {', '.join(told)}")
        self._print(line.append(f"  {time.monotonic() - began:.1f} s", "dim"))

    def mail(self, to: str, subject: str, text: str) -> None:
        """A mail that somebody got."""
        for line in (f"To: {to}", f"Subject: {subject}", "", *text.strip().splitlines()):
            self._print(Text.assemble(("    │ ", "dim"), line))

    def table(self, title: str, rows: Sequence[Sequence[str]]) -> None:
        """What to look at afterwards, in two columns; nothing is cut: the first is there to be copied."""
        self.scene(title)
        wide = max(len(row[0]) for row in rows)
        for row in rows:
            self._print(Text("  ".join((row[0].ljust(wide), *row[1:]))))

    def say(self, words: str) -> None:
        """A sentence."""
        self._console.print()
        self._print(Text(words))

    def _print(self, line: Text) -> None:
        # Lines are not broken by us: links stay whole.
        self._console.print(line, soft_wrap=True)
