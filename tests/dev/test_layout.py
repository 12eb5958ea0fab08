import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev import layout
from dev.cluster import containerd
from dev.layout import ClusterLayout, StackLayout

_INTERFACE_NAME = 15  # IFNAMSIZ without the final zero, <linux/if.h>
_SOCKET_PATH = 107  # sun_path without the final zero, unix(7)
_NUMBERS = range(1, layout.MAX_CLUSTERS + 1)


def _stack_of(checkout: Path, suffix: str = "") -> str:
    """Name of the stack that a copy of the layout has in another checkout."""
    (checkout / "dev").mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "layout.py"):
        (checkout / "dev" / name).write_text((layout.DEV / name).read_text())
    return _python(f"print(layout.StackLayout.of_checkout({suffix!r}).name)", checkout)


def _python(code: str, checkout: Path = layout.CHECKOUT, **environment: str) -> str:
    """What a program prints that imports the layout of a checkout."""
    words = [sys.executable, "-c", f"from dev import layout; {code}"]
    done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("number", _NUMBERS)
def test_names_are_short_enough_for_the_kernel(number: int) -> None:
    """A scope would fit an interface's name, so it fits what is named after it everywhere."""
    assert len(StackLayout.of_checkout("a very long suffix " * 10).cluster(number).scope) <= _INTERFACE_NAME


@pytest.mark.parametrize("number", _NUMBERS)
def test_socket_paths_are_short_enough_for_the_kernel(number: int) -> None:
    """Containerd's socket and the one that it derives from it fit a socket address."""
    socket = containerd.socket(StackLayout.of_checkout().cluster(number))
    assert len(os.fsencode(f"{socket}.ttrpc")) <= _SOCKET_PATH


def test_each_suffix_is_another_stack() -> None:
    """One checkout can have several stacks, each found again by its suffix."""
    names = [StackLayout.of_checkout(suffix).name for suffix in ("", "a", "b", "ab", "a\nb")]
    assert len(set(names)) == len(names)
    assert StackLayout.of_checkout("a") == StackLayout.of_checkout("a")


def test_each_checkout_is_another_stack(tmp_path: Path) -> None:
    """Checkouts of one machine never share a stack, whatever their suffixes."""
    names = {_stack_of(tmp_path / "one"), _stack_of(tmp_path / "two"), StackLayout.of_checkout().name}
    assert len(names) == 3


def test_clusters_of_a_stack_share_nothing() -> None:
    """Two clusters have other names, directories, namespaces, subnets, addresses and credentials."""
    first, second = (StackLayout("bud-test").cluster(number) for number in (1, 2))

    def facts(cluster: ClusterLayout) -> list[object]:
        return [
            cluster.name,
            cluster.scope,
            cluster.directory,
            cluster.pod_subnet,
            cluster.service_subnet,
            cluster.node_address,
            cluster.server,
            cluster.admin_kubeconfig,
        ]

    assert [pair for pair in zip(facts(first), facts(second), strict=True) if pair[0] == pair[1]] == []
    assert first.scope == "bud-test"


def test_everything_of_a_stack_is_in_its_directory() -> None:
    """One directory holds all that `make down` has to remove."""
    stack = StackLayout("bud-test")
    paths = [
        stack.logs,
        stack.clusters_directory,
        stack.cluster(1).directory,
        stack.cluster(2).admin_kubeconfig,
    ]
    assert all(path.is_relative_to(stack.directory) for path in paths)
    assert stack.directory.parent == layout.STACKS


def test_home_is_chosen_by_the_environment(tmp_path: Path) -> None:
    """Cache and stacks can be anywhere."""
    printed = _python("print(layout.CACHE, layout.STACKS)", BUDEVAL_DEV_HOME=str(tmp_path))
    assert printed == f"{tmp_path}/cache {tmp_path}/stacks"


def test_empty_home_is_no_choice() -> None:
    """An empty variable does not turn the working directory into the stacks' home."""
    assert _python("print(layout.HOME)", BUDEVAL_DEV_HOME="") == _python("print(layout.HOME)")


def test_relative_home_does_not_move_with_the_working_directory() -> None:
    """Daemons run elsewhere than the command that starts them, so every path is absolute."""
    assert _python("print(layout.HOME)", BUDEVAL_DEV_HOME="here") == f"{layout.CHECKOUT}/here"


def test_home_behind_a_link_is_where_the_kernel_says(tmp_path: Path) -> None:
    """Mounts are listed by their real path, and only so `make down` finds them below a stack's directory."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    printed = _python("print(layout.HOME)", BUDEVAL_DEV_HOME=str(tmp_path / "link"))
    assert printed == str(tmp_path / "real")
