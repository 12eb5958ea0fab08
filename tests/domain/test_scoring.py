"""What several values of one metric say together."""

import pytest

from budeval.domain.scoring import MetricOutcome, MetricStatus, mean_of_repeats, scored

_NO_VALUE = MetricOutcome(metric="m", status=MetricStatus.UNDETERMINED, reason_code="no_statements")


def _repeated(*values: float) -> MetricOutcome:
    return mean_of_repeats([scored("m", value) for value in values])


def test_values_are_cut_one_by_one_and_raw_values_are_not() -> None:
    """The raw mean of negative cosines is negative, as that of one is."""
    found = _repeated(-0.5, -0.25, 0.3)

    assert found.value == pytest.approx(0.1)
    assert found.repeats == (0.0, 0.0, 0.3)
    assert found.raw_value == pytest.approx(-0.15)
    assert found.stdev == pytest.approx(0.3 / 3**0.5)


@pytest.mark.parametrize(("values", "stdev"), [((0.5,), None), ((0.5, 0.5), 0.0), ((0.0, 1.0), 0.5**0.5)])
def test_a_deviation_is_that_of_a_sample(values: tuple[float, ...], stdev: float | None) -> None:
    """Over n - 1, so one value has none; what has no value does not count."""
    found = mean_of_repeats([*(scored("m", value) for value in values), _NO_VALUE])

    assert found.stdev == (stdev if stdev is None else pytest.approx(stdev))
    assert found.repeats_without_value == ("no_statements",)
    assert MetricOutcome.model_validate(found.model_dump(mode="json")) == found


def test_what_was_stored_before_there_were_deviations_is_read() -> None:
    """A job may have begun with an earlier version."""
    stored = _repeated(0.0, 1.0).model_dump(mode="json")
    del stored["stdev"]

    assert MetricOutcome.model_validate(stored).stdev is None
