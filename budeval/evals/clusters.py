"""Which clusters there are and with which credential each is reached. Never of another cluster's."""

from collections.abc import Callable
from pathlib import Path

import yaml

from budeval.ansible import kubeconfig
from budeval.config import Settings
from budeval.domain.addresses import AddressRules
from budeval.domain.cluster import FROM_REQUEST, IN_CLUSTER, ClusterTarget
from budeval.errors import ClusterError, RequestError
from budeval.evals.addresses import require_allowed

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_USUAL_RULES = AddressRules()

OpenKubeconfig = Callable[[str], str | None]
"""eval_id -> the kubeconfig that came with its request."""


class Clusters:
    """The clusters of the settings, the service's own, and those that requests bring."""

    def __init__(
        self,
        directory: Path | None,
        open_kubeconfig: OpenKubeconfig,
        service_account: Path = SERVICE_ACCOUNT,
        rules: AddressRules = _USUAL_RULES,
    ) -> None:
        """`rules` are for the servers of kubeconfigs that requests bring; where ours are is the settings'."""
        self._directory = directory
        self._open_kubeconfig = open_kubeconfig
        self._service_account = service_account
        self._rules = rules

    def names(self) -> list[str]:
        """The clusters that requests may choose by name."""
        here = self._directory
        names = sorted(path.stem for path in here.glob("*.yaml")) if here and here.is_dir() else []
        return [*names, IN_CLUSTER] if (self._service_account / "token").exists() else names

    def require_known(self, cluster: str) -> None:
        """Refuse a cluster that is not configured.

        Raises:
            RequestError: CLUSTER_UNKNOWN.
        """
        names = self.names()
        if cluster not in names:
            known = (
                ", ".join(names) or "none; set BUDEVAL_CLUSTERS_DIR to a directory of <name>.yaml kubeconfigs"
            )
            raise RequestError(
                f"There is no cluster {cluster!r}. Configured: {known}.",
                status=404,
                code="CLUSTER_UNKNOWN",
                param="cluster",
            )

    def target(self, cluster: str | None, namespace: str | None, settings: Settings) -> ClusterTarget:
        """Where a request without a kubeconfig wants something done; what it leaves out is in the settings.

        Raises:
            RequestError: CLUSTER_REQUIRED, CLUSTER_UNKNOWN.
        """
        named = cluster or settings.default_cluster
        if named is None:
            raise RequestError(
                "Name a cluster: no default is set (BUDEVAL_DEFAULT_CLUSTER).",
                code="CLUSTER_REQUIRED",
                param="cluster",
            )
        self.require_known(named)
        return ClusterTarget(cluster=named, namespace=namespace or settings.namespace)

    def check(self, text: str) -> str:
        """Refuse a kubeconfig that could not be used.

        Returns:
            Which server it names, as `ClusterTarget.server` has it.

        Raises:
            ClusterError: KUBECONFIG_INVALID, naming the field.
            RequestError: ADDRESS_FORBIDDEN: its server is at one.
        """
        rebuilt = kubeconfig.rebuild(text)
        require_allowed(self._rules, kubeconfig.host_of(rebuilt), "kubeconfig")
        return kubeconfig.server_digest(rebuilt)

    def credential(self, target: ClusterTarget, brought: str | None = None) -> str:
        """A kubeconfig that is safe to use: rebuilt from an allow-list, and guarded if a request brought it.

        Args:
            target: whose.
            brought: the kubeconfig of a request that is not stored yet.

        Raises:
            ClusterError: KUBECONFIG_INVALID; another cluster is never taken instead.
        """
        rebuilt = self.identity(target, brought)
        return kubeconfig.guarded(rebuilt, self._rules) if target.cluster == FROM_REQUEST else rebuilt

    def identity(self, target: ClusterTarget, brought: str | None = None) -> str:
        """The same for targets that are the same server, reached with the same rights; as of `credential`."""
        if target.cluster == FROM_REQUEST:
            text = brought or self._open_kubeconfig(target.eval_id or "")
        elif target.cluster == IN_CLUSTER:
            text = self._own()
        else:
            text = self._read(target.cluster)
        if text is None:
            reason = f"No kubeconfig of cluster {target.cluster!r} can be read."
            raise ClusterError(reason, code="KUBECONFIG_INVALID", retryable=False)
        return kubeconfig.rebuild(text)

    def _read(self, cluster: str) -> str | None:
        try:
            return (self._directory / f"{cluster}.yaml").read_text() if self._directory else None
        except (OSError, UnicodeDecodeError):
            return None

    def _own(self) -> str | None:
        """The service account's credential in the form of the others."""
        try:
            token = (self._service_account / "token").read_text().strip()
            authority = (self._service_account / "ca.crt").read_bytes()
        except OSError:
            return None
        return yaml.safe_dump(
            kubeconfig.document("https://kubernetes.default.svc", authority, {"token": token})
        )
