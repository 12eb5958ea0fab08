"""`POST /evals:validate`: what can be known before an evaluation is started; nothing is started."""

import asyncio
from collections.abc import Callable, Iterator

import httpx

from budeval.domain.addresses import AddressRules
from budeval.domain.evaluation import Evaluation
from budeval.errors import BudevalError
from budeval.evals.addresses import GuardedTransport
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.answers import Check, ValidationReport
from budeval.evals.intake import ENDPOINT_FIELD, Intake
from budeval.evals.schema import EvaluationRequest

_ENDPOINT_SECONDS = 20.0
"""For all of it: an endpoint may send a byte now and then for ever."""
_REFUSED = {401: "ENDPOINT_AUTH_FAILED", 403: "ENDPOINT_AUTH_FAILED"}
_SERVER_FAULT = 500


class Validation:
    """Checks a request against settings, cluster and endpoint."""

    def __init__(
        self,
        intake: Intake,
        orchestrator: AnsibleOrchestrator,
        rules: AddressRules,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`rules` are for the endpoints that are asked; `transport` is given by tests."""
        self._intake = intake
        self._orchestrator = orchestrator
        self._rules = rules
        self._transport = transport

    def report(self, request: EvaluationRequest) -> ValidationReport:
        """Every check with its outcome; one that fails does not keep the later ones from being made."""
        checks = list(self._checks(request))
        return ValidationReport(ok=all(check.ok for check in checks), checks=checks)

    def _checks(self, request: EvaluationRequest) -> Iterator[Check]:
        try:
            evaluation = self._intake.check(request)
            secrets = self._intake.secrets_of(request)
        except BudevalError as error:
            yield Check(name="request", ok=False, code=error.code, message=error.message)
            return
        runs = f"{len(evaluation.runs)} runs, engine {evaluation.engine}"
        yield Check(name="request", ok=True, message=f"{runs}; datasets are known, inline rows fit")
        yield _checked("cluster", lambda: self._cluster(evaluation, secrets.get("kubeconfig")))
        yield _checked("endpoint", lambda: self._endpoint(evaluation, secrets["api_key"]))

    def _cluster(self, evaluation: Evaluation, kubeconfig: str | None) -> str:
        found = self._orchestrator.verify(evaluation.target, evaluation.claim, kubeconfig)
        if not found.ok:
            raise BudevalError(found.message, code=found.code)
        return f"{found.message} Claim {found.claim} is {found.claim_phase}; images are pulled only by a Job."

    def _endpoint(self, evaluation: Evaluation, api_key: str) -> str:
        """One token, asked for from here: pods may have another way to the endpoint."""
        url = f"{evaluation.model.endpoint}/chat/completions"
        try:
            status = asyncio.run(self._status_of(url, evaluation.model.name, api_key))
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, TimeoutError) as error:
            text = f"{url} does not answer the service: {type(error).__name__}."
            raise BudevalError(text, code="ENDPOINT_UNREACHABLE") from error
        if not httpx.codes.is_success(status):
            fault = "ENDPOINT_ERROR" if status >= _SERVER_FAULT else "ENDPOINT_REFUSED"
            text = f"{url} answers {status}. Check model_name, endpoint and api_key."
            raise BudevalError(text, code=_REFUSED.get(status, fault))
        return f"{url} answers for model {evaluation.model.name}."

    async def _status_of(self, url: str, model: str, api_key: str) -> int:
        """Of the answer nothing else is read: it may have no end, or expand without one."""
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        headers = {"Authorization": f"Bearer {api_key}", "Accept-Encoding": "identity"}
        transport = GuardedTransport(self._rules, ENDPOINT_FIELD, self._transport)
        async with (
            asyncio.timeout(_ENDPOINT_SECONDS),
            httpx.AsyncClient(timeout=_ENDPOINT_SECONDS, transport=transport, trust_env=False) as client,
            client.stream("POST", url, json=body, headers=headers) as answer,
        ):
            return answer.status_code


def _checked(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, message=check())
    except BudevalError as error:
        return Check(name=name, ok=False, code=error.code, message=error.message)
