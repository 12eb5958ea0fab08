"""Container images, built without a registry by buildah, or by Docker where its daemon answers.

Each image is a cache entry: an archive keyed by its Dockerfile, its context and the images it stands on.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dev import cache, command, system
from dev.cluster import binaries
from dev.layout import CACHE, CHECKOUT, DEV

_DOCKERFILES = DEV / "images"
_REQUIREMENTS = CHECKOUT / "requirements"
_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")

_BASE_PACKAGES = "python3,python3-venv,libstdc++6,tini,ca-certificates"
"""libstdc++6: without it the tokenizers wheel does not import. tini: OpenCompass as PID 1 ignores SIGTERM."""


@dataclass(frozen=True)
class Image:
    """What an image is made from."""

    tag: str
    dockerfile: Path
    context: Mapping[str, Path]
    """Name in the build context -> file or directory it comes from."""
    usually: str
    base: "Image | None" = None
    arguments: Mapping[str, str] = field(default_factory=dict)

    @property
    def ingredients(self) -> list[cache.Ingredient]:
        """Everything its content depends on."""
        own: list[cache.Ingredient] = [self.tag, self.dockerfile, *self.context, *self.context.values()]
        own += [f"{name}={value}" for name, value in sorted(self.arguments.items())]
        return own + (self.base.ingredients if self.base else [])

    def archive(self) -> Path:
        """Its docker-archive; built first where it is not in the cache."""

        def build(target: Path) -> None:
            if self.base:
                _ensure_in_builder(self.base)
            _build(self)
            _save(self.tag, target / "image.tar")

        kind = self.tag.rpartition("/")[2].replace(":", "-")
        what = f"building image {self.tag}"
        entry = cache.entry(f"image-{kind}", self.ingredients, build, what=what, usually=self.usually)
        return entry / "image.tar"


def pause() -> Image:
    """What holds a pod's namespaces."""
    context = {"pause": binaries.pause()}
    return Image("budeval.local/pause:1", _DOCKERFILES / "pause.Dockerfile", context, "3 s")


def python() -> Image:
    """Debian's Python 3.11: base of the others, and what extraction Jobs run in."""
    context = {"root.tar": _debian_root()}
    return Image("budeval.local/python:3.11", _DOCKERFILES / "python.Dockerfile", context, "20 s")


def opencompass() -> Image:
    """The OpenCompass runner with an offline tokenizer, without torch (docs/decisions/0003)."""
    context = {
        "requirements.txt": _REQUIREMENTS / "opencompass.txt",
        "make_tokenizer.py": _DOCKERFILES / "opencompass" / "make_tokenizer.py",
        "sitecustomize.py": _DOCKERFILES / "opencompass" / "sitecustomize.py",
    }
    dockerfile = _DOCKERFILES / "opencompass" / "Dockerfile"
    return Image("budeval.local/opencompass:0.5.4", dockerfile, context, "4 min", python())


def lm_eval() -> Image:
    """The lm-eval runner, without torch."""
    context = {"requirements.txt": _REQUIREMENTS / "lm-eval.txt"}
    dockerfile = _DOCKERFILES / "lm-eval" / "Dockerfile"
    return Image("budeval.local/lm-eval:0.4.13", dockerfile, context, "2 min", python())


def budeval() -> Image:
    """The service itself, from the project's own Dockerfile."""
    names = ["pyproject.toml", "README.md", "LICENSE", "budeval", "requirements", "dev/collection.py"]
    context = {name: CHECKOUT / name for name in names}
    arguments = {"BASE_IMAGE": python().tag}
    return Image("budeval.local/budeval:dev", CHECKOUT / "Dockerfile", context, "1 min", python(), arguments)


def for_clusters() -> list[Image]:
    """What every cluster of a stack holds from its start."""
    return [pause(), python(), opencompass(), lm_eval()]


def _debian_root() -> Path:
    def build(target: Path) -> None:
        options = ["--variant=essential", f"--include={_BASE_PACKAGES}", "--quiet"]
        command.run(["mmdebstrap", *options, "bookworm", target / "root.tar"], timeout=1200)

    what = "bootstrapping Debian for the base image"
    return cache.entry("debian-root", [_BASE_PACKAGES], build, what=what, usually="1 min") / "root.tar"


def _build(image: Image) -> None:
    with tempfile.TemporaryDirectory(prefix="budeval-image-") as scratch:
        context = Path(scratch)
        for name, source in image.context.items():
            _copy(source, context / name)
        arguments = [f"--build-arg={name}={value}" for name, value in image.arguments.items()]
        what = [*arguments, "--file", str(image.dockerfile), "--tag", image.tag, str(context)]
        if system.has_docker():
            command.run(["docker", "build", *what])
        else:
            # RUN steps reach the package index by the host's certificate authorities.
            trust = [f"--volume={_CA_BUNDLE}:/run/host-ca.crt:ro", "--build-arg=PIP_CERT=/run/host-ca.crt"]
            _buildah(["build", "--layers", "--isolation=chroot", *trust, *what])


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target)


def _ensure_in_builder(image: Image) -> None:
    """A base may be in the cache while the builder's own store has lost it."""
    archive = image.archive()
    if system.has_docker():
        command.run(["docker", "load", "--input", archive])
    else:
        _buildah(["pull", "--quiet", f"docker-archive:{archive}"])


def _save(tag: str, archive: Path) -> None:
    if system.has_docker():
        command.run(["docker", "save", "--output", archive, tag])
    else:
        _buildah(["push", "--quiet", tag, f"docker-archive:{archive}:{tag}"])


def forget_layers() -> None:
    """Empty buildah's own store: it only makes the next build faster."""
    if (CACHE / "buildah").exists():
        _buildah(["rmi", "--all", "--force"])


def _buildah(arguments: Sequence[str]) -> None:
    store = CACHE / "buildah"
    where: list[str | Path] = [
        "--root",
        store / "root",
        "--runroot",
        store / "run",
        "--storage-driver",
        "overlay",
    ]
    command.run(["buildah", *where, *arguments])
