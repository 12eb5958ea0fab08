"""Where requests come in, whatever is cut off meanwhile."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml

from budeval.config import Settings, StorageConfig
from budeval.domain.evaluation import EvaluationRecord
from budeval.engines.opencompass.jobs import OpenCompass
from budeval.errors import SidecarError
from budeval.evals.arrivals import Arrivals
from budeval.evals.clusters import Clusters
from budeval.evals.intake import Intake
from budeval.evals.schema import EvaluationRequest
from budeval.evals.store import EvaluationStore
from budeval.runtime.sealing import Sealer
from budeval.runtime.vault import Vault
from tests.runtime.fake_dapr import FakeDapr

ID = "223e4567-e89b-12d3-a456-426614174020"
KEY = "sk-very-secret"
TOKEN = "token-of-the-request"
ROWS = '{"question": "What is 2 + 3?", "answer": "5"}\n'
STOCK = "demo_gsm8k_chat_gen"
WRITES = ("arriving", "sealed", "dataset", "index-days", "index", "eval", "brief", "active", "arriving")
"""How the keys begin that a request writes, in this order."""

Json = dict[str, Any]


@dataclass
class FakeCutDapr(FakeDapr):
    """Goes away after so many writes, if told."""

    writes_left: int | None = None
    written: list[str] = field(default_factory=list)
    meanwhile: dict[int, Callable[[], None]] = field(default_factory=dict)
    """What somebody else does just before the n-th write from now on, from 0."""

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and request.url.path == "/v1.0/state/store":
            if self.writes_left == 0:
                return httpx.Response(500, text="cut")
            if self.writes_left is not None:
                self.writes_left -= 1
            others = self.meanwhile.pop(len(self.written), None)
            if others:
                others()
            self.written += [item["key"] for item in json.loads(request.content)]
        return super()._answer(request)


@dataclass
class Desk:
    """An intake with all that is behind it."""

    clusters_dir: Path
    seal_key: str
    dapr: FakeCutDapr = field(default_factory=FakeCutDapr)
    started: list[EvaluationRecord] = field(default_factory=list)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    changes: Json = field(default_factory=dict)
    """Of the settings."""
    start_fails: bool = False

    def accept(self, **changes: Any) -> EvaluationRecord:
        """Send a request."""
        return self.intake().accept(EvaluationRequest.model_validate(body(**changes)))

    def intake(self) -> Intake:
        """A fresh one, as after a crash."""
        given: Json = {"default_cluster": "first", "clusters_dir": self.clusters_dir, **self.changes}
        settings = Settings(**given)
        sidecar = self.dapr.client()
        return Intake(
            settings,
            EvaluationStore(sidecar),
            self.arrivals(),
            Clusters(settings.clusters_dir, lambda _eval_id: None, Path("/nowhere")),
            {"opencompass": OpenCompass("an-image", StorageConfig())},
            lambda name: self.secrets.get(name, {}),
            self._start,
        )

    def opened(self) -> dict[str, str]:
        """What the intake has sealed for the evaluation that is there."""
        sidecar = self.dapr.client()
        record = EvaluationStore(sidecar).load(ID)
        return Vault(sidecar, Sealer(self.seal_key)).open(record.sealed_as)

    def arrivals(self) -> Arrivals:
        """Those that it notes."""
        sidecar = self.dapr.client()
        return Arrivals(sidecar, EvaluationStore(sidecar), Vault(sidecar, Sealer(self.seal_key)))

    def let_time_pass(self) -> None:
        """What is coming in now has been cut off for long."""
        long_ago = (datetime.now(UTC) - timedelta(minutes=11)).isoformat()
        for key, page in self.dapr.state.items():
            if key.startswith("arriving-"):
                page.update({name: {**noted, "at": long_ago} for name, noted in page.items()})

    def kept(self, kind: str) -> list[str]:
        """The keys of what is kept: `sealed` secrets, rows of a `dataset`."""
        return [key for key in self.dapr.state if key.startswith(f"{kind}-")]

    def listed(self) -> list[str]:
        """Every id on the list, as often as it is there."""
        return EvaluationStore(self.dapr.client()).newest(None, 1000)[0]

    def _start(self, record: EvaluationRecord) -> None:
        if self.start_fails:
            raise SidecarError("the engine is away")
        self.started.append(record)


def kubeconfig(**changes: Any) -> str:
    """A usable kubeconfig with other fields."""
    document = {
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443"}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    return yaml.safe_dump({**document, **changes})


def model(**changes: Any) -> Json:
    """The model's part of a request; None leaves a field out."""
    fields = {"model_name": "m", "endpoint": "http://m/v1", "api_key": KEY, **changes}
    return {"eval_model_info": {name: value for name, value in fields.items() if value is not None}}


def body(**changes: Any) -> Json:
    """A request of an own dataset and a stock one."""
    own = {"dataset_id": "sums", "run_id": "sums-1", "source": {"inline": ROWS}}
    return {
        "eval_id": ID,
        "experiment_id": "123e4567-e89b-12d3-a456-426614174000",
        **model(),
        "eval_datasets": [own, {"dataset_id": STOCK, "run_id": "stock-1", "limit": 5}],
        **changes,
    }
