"""Why an activity has failed for good, as bodies of workflows see it. Dapr is not needed for it."""


class StepError(Exception):
    """An activity has failed for good."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
