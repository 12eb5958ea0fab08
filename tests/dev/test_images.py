from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dev import cache
from dev.images import Image

Change = Callable[[Image], Image]


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """An image with everything that an image can have."""
    for name in ("Dockerfile", "Base.Dockerfile", "requirements.txt"):
        (tmp_path / name).write_text(name)
    base = Image("base:1", tmp_path / "Base.Dockerfile", {}, "1 s")
    context = {"requirements.txt": tmp_path / "requirements.txt"}
    return Image("made-up:1", tmp_path / "Dockerfile", context, "1 s", base, {"BASE": "base:1"})


def _key(image: Image) -> str:
    return cache.key_of(image.ingredients)


def _with_other_base(image: Image) -> Image:
    assert image.base
    image.base.dockerfile.write_text("FROM other")
    return image


def _with_other_context(image: Image) -> Image:
    image.context["requirements.txt"].write_text("numpy==2")
    return image


def _with_other_dockerfile(image: Image) -> Image:
    image.dockerfile.write_text("FROM other")
    return image


@pytest.mark.parametrize(
    "change",
    [
        _with_other_base,
        _with_other_context,
        _with_other_dockerfile,
        lambda image: replace(image, tag="made-up:2"),
        lambda image: replace(image, arguments={"BASE": "base:2"}),
        lambda image: replace(image, context={"other.txt": image.context["requirements.txt"]}),
    ],
)
def test_image_is_built_anew_when_what_it_is_made_from_changes(change: Change, image: Image) -> None:
    """Tag, Dockerfile, context, arguments and base all count."""
    before = _key(image)
    assert _key(change(image)) != before


def test_expected_duration_does_not_count(image: Image) -> None:
    """What is only said to people does not make another image."""
    assert _key(replace(image, usually="an hour")) == _key(image)
