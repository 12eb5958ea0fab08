"""What a question costs, from its first request on: also where nobody waits for its end."""

from dataclasses import dataclass, field

from budeval.domain.scoring import Usage


@dataclass
class Bill:
    """Of one question; whoever cuts it off can still read it."""

    usage: Usage = field(default_factory=Usage)

    def add(self, usage: Usage) -> None:
        """Put on it what was spent."""
        self.usage += usage
