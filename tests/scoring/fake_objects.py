"""A fake of an object store that fails on purpose: each object is there whole or not at all."""

from typing import Any, ClassVar

from fsspec.implementations.memory import MemoryFileSystem


class FakeObjects(MemoryFileSystem):  # type: ignore[misc] # fsspec has no types
    """In memory, of its own; fails at its n-th change, before it or after it."""

    protocol = "fakeobjects"
    cachable = False
    store: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.store = {}  # type: ignore[misc] # not shared with others, as fsspec's is
        self.pseudo_dirs = [""]
        self.fails_at: int | None = None
        """Number of changes that succeed before one fails."""
        self.fails_late = False
        """The change is made and the answer lost."""
        self.writes: list[str] = []
        """Paths, in their order."""

    def pipe_file(self, path: str, value: bytes, **more: Any) -> None:
        """As the real one does."""
        self._may_fail(late=False)
        super().pipe_file(path, value, **more)
        self.writes.append(path)
        self._may_fail(late=True)

    def rm_file(self, path: str) -> None:
        """As the real one does."""
        self._may_fail(late=False)
        super().rm_file(path)
        self._may_fail(late=True)

    def _may_fail(self, *, late: bool) -> None:
        if self.fails_at is None or late is not self.fails_late:
            return
        if self.fails_at == 0:
            raise ConnectionResetError("the object store is away")
        self.fails_at -= 1
