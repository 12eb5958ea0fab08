"""The cluster's programs, built once from Go modules."""

from pathlib import Path

from dev import cache, golang
from dev.layout import DEV

KUBERNETES_VERSION = "1.34.4"
ETCD_VERSION = "3.6.4"
PROVISIONER_LIBRARY_VERSION = "13.0.0"

_MODULES = DEV / "cluster"
# `kubelet` and the API server tell this version to clients and to each other.
_VERSION_FLAGS = "-ldflags=-s -w " + " ".join(
    f"-X k8s.io/{package}.{name}={value}"
    for package in ("component-base/version", "client-go/pkg/version")
    for name, value in (
        ("gitVersion", f"v{KUBERNETES_VERSION}"),
        ("gitMajor", KUBERNETES_VERSION.split(".", maxsplit=1)[0]),
        ("gitMinor", KUBERNETES_VERSION.split(".")[1]),
    )
)
_SMALL = "-ldflags=-s -w"


def kubernetes() -> Path:
    """One program that is etcd, every Kubernetes component and kubectl, by its first argument."""

    def build(target: Path) -> None:
        golang.build(_MODULES / "kubernetes", ["./kube"], target / "kube", [_VERSION_FLAGS])

    made_from: list[cache.Ingredient] = [_MODULES / "kubernetes", golang.version(), _VERSION_FLAGS]
    what = f"building Kubernetes {KUBERNETES_VERSION}"
    return cache.entry("kubernetes", made_from, build, what=what, usually="5 min") / "kube"


def pause() -> Path:
    """The static program of the pause image."""

    def build(target: Path) -> None:
        golang.build(_MODULES / "kubernetes", ["./pause"], target / "pause", [_SMALL])

    made_from: list[cache.Ingredient] = [_MODULES / "kubernetes" / "pause", golang.version()]
    return cache.entry("pause", made_from, build, what="building pause", usually="2 s") / "pause"


def provisioner() -> Path:
    """The controller that makes volumes."""

    def build(target: Path) -> None:
        golang.build(_MODULES / "provisioner", ["."], target / "provisioner", [_SMALL])

    made_from: list[cache.Ingredient] = [_MODULES / "provisioner", golang.version()]
    what = "building the volume provisioner"
    return cache.entry("provisioner", made_from, build, what=what, usually="1 min") / "provisioner"
