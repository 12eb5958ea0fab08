"""Engine `ragas`: in an environment of its own, so in a process of its own, behind the same interface."""
