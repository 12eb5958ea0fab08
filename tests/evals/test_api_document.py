"""The whole application under requests that are drawn from its own document: every answer is documented.

schemathesis draws them, always the same: what fits the document, what only just fits it, and what does not.
State store, workflow engine and cluster are fakes that are well: no answer may be a server's error.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig

from budeval.evals import addresses
from budeval.evals.event_stream import EventStream
from budeval.runtime.sealing import new_key
from tests.evals.application_on_fakes import ENDED, RUNNING, TOKEN, ApplicationOnFakes

_DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"
_CHECKS = {
    # What fits the document may still be refused: only the service knows names, datasets, rows.
    "positive_data_acceptance": {"enabled": False},
    # Types are read leniently, as by the original service: "5" as 5, 0 as false.
    "negative_data_rejection": {"enabled": False},
}
_FEW = settings(max_examples=15, derandomize=True, deadline=None, database=None)


class Served:
    """An application that is made later; its lifespan is not started."""

    application: FastAPI

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] != "http":
            raise NotImplementedError
        await self.application(scope, receive, send)


_served = Served()
document = schemathesis.openapi.from_path(_DOCUMENT, config=SchemathesisConfig.from_dict({"checks": _CHECKS}))
document.app = _served


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApplicationOnFakes]:
    """One application for all; no name stands for an address, so nobody is asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUDEVAL_SEAL_KEYS", new_key())
        patch.setattr("budeval.main.EventStream", functools.partial(EventStream, poll_seconds=0))
        patch.setattr(addresses, "_addresses_of", lambda *_: [])
        made = ApplicationOnFakes(tmp_path_factory.mktemp("clusters"))
        _served.application = made.application
        yield made


def _ask(case: Case[Any], excluded: tuple[Any, ...] = ()) -> None:
    """Once; where the document wants a token again without one, and with a wrong one."""
    case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"}, excluded_checks=list(excluded))


@document.parametrize()
@_FEW
def test_every_answer_is_documented(fakes: ApplicationOnFakes, case: Case[Any]) -> None:
    """With its status, content type and shape, whatever comes; methods and tokens are as documented."""
    fakes.begin_anew()

    _ask(case)


@document.include(path_regex="eval_id").parametrize()
@_FEW
def test_so_are_those_about_evaluations_that_are_there(fakes: ApplicationOnFakes, case: Case[Any]) -> None:
    """Of one that has ended, and of one that runs, whose stream of events has no end."""
    for eval_id in (ENDED, RUNNING) if "stream" not in case.path else (ENDED,):
        fakes.begin_anew()
        case.path_parameters["eval_id"] = eval_id

        _ask(case)


@document.parametrize()
@_FEW
def test_an_outage_is_documented_too(fakes: ApplicationOnFakes, case: Case[Any]) -> None:
    """Without a state store: 503 in the usual shape."""
    fakes.begin_anew()
    fakes.dapr.unreachable = True

    _ask(case, excluded=(not_a_server_error,))
