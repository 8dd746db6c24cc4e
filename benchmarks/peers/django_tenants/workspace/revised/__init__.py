"""The migrations beside this package, and one more."""

from pathlib import Path

__path__.append(str(Path(__file__).parent.parent / "migrations"))
