"""What a run's Job may be called."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budeval.domain.identifiers import DNS_LABEL, LABEL_VALUE, job_names

_RUN_IDS = st.from_regex(LABEL_VALUE.strip("^$"), fullmatch=True)
_EVAL_IDS = st.uuids().map(str)
_POD_SUFFIX = "-x1y2z"
_DERIVED = re.compile(r"run-[0-9a-f]{16}(-a[0-9]+)?")


@pytest.mark.parametrize("run_id", ["a", "7", "sums-1", "223e4567-e89b-12d3-a456-426614174020", "a" * 57])
def test_a_valid_name_is_its_own(run_id: str) -> None:
    """As the guide has it: who knows the run finds the Job; a derived name is the second choice."""
    first, second = job_names("e-1", run_id, 1)

    assert first == run_id
    assert _DERIVED.fullmatch(second)


def test_later_attempts_have_a_suffix() -> None:
    """The first Job may still be there; its name is not used twice."""
    own, derived = job_names("e-1", "sums", 1)

    assert job_names("e-1", "sums", 2) == [f"{own}-a2", f"{derived}-a2"]
    assert job_names("e-1", "sums", 11) == [f"{own}-a11", f"{derived}-a11"]


@pytest.mark.parametrize("run_id", ["Sums", "sums_1", "sums.1", "a" * 58, "a" * 63])
def test_other_run_ids_get_a_derived_name(run_id: str) -> None:
    """Labels may hold what names must not, and pods add a suffix to a name."""
    (name,) = job_names("e-1", run_id, 1)

    assert _DERIVED.fullmatch(name)


def test_a_suffix_that_no_longer_fits_leads_to_a_derived_name() -> None:
    """57 characters are enough for the first attempt and too many for the second."""
    assert len(job_names("e-1", "a" * 57, 1)) == 2
    assert len(job_names("e-1", "a" * 57, 2)) == 1


@given(_EVAL_IDS, _RUN_IDS, st.integers(1, 10_000))
def test_every_name_is_valid_and_leaves_room_for_a_pods_suffix(
    eval_id: str, run_id: str, attempt: int
) -> None:
    """Kubernetes takes it for the Job, and with a suffix as a label of its pod."""
    names = job_names(eval_id, run_id, attempt)

    assert names
    for name in names:
        assert re.fullmatch(DNS_LABEL.strip("^$"), name + _POD_SUFFIX), name
        assert len(name) <= 57


@given(_EVAL_IDS, _RUN_IDS, st.integers(1, 10_000))
def test_the_same_run_has_the_same_names(eval_id: str, run_id: str, attempt: int) -> None:
    """A repeated deployment finds what it made; no two of the names are equal."""
    names = job_names(eval_id, run_id, attempt)

    assert names == job_names(eval_id, run_id, attempt)
    assert len(set(names)) == len(names)


@given(st.lists(_EVAL_IDS, min_size=2, max_size=5, unique=True), _RUN_IDS, st.integers(1, 3))
def test_evaluations_that_share_a_run_id_differ_in_the_second_choice(
    eval_ids: list[str], run_id: str, attempt: int
) -> None:
    """The first to come has the plain name, and nobody has to give up."""
    fallbacks = {job_names(eval_id, run_id, attempt)[-1] for eval_id in eval_ids}

    assert len(fallbacks) == len(eval_ids)


@given(st.lists(_RUN_IDS, min_size=2, max_size=5, unique=True), st.integers(1, 3))
def test_runs_of_an_evaluation_differ_in_the_second_choice(run_ids: list[str], attempt: int) -> None:
    """Also those that differ in upper and lower case only."""
    fallbacks = {job_names("e-1", run_id, attempt)[-1] for run_id in run_ids}

    assert len(fallbacks) == len(run_ids)
