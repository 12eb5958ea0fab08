"""A stack's layout for fast tests."""

from dataclasses import dataclass
from pathlib import Path

from dev.layout import StackLayout


@dataclass(frozen=True)
class FakeStackLayout(StackLayout):
    """A stack whose files are in a directory of the test."""

    root: Path

    @property
    def directory(self) -> Path:
        """As in every stack, but elsewhere."""
        return self.root
