"""The images that the stack builds, run as a cluster runs them."""

import json
import subprocess
from pathlib import Path

import pytest

from dev import images
from dev.cluster import containerd
from dev.stack import Stack
from tests.e2e.observe import wait_for

pytestmark = pytest.mark.e2e


def _run(stack: Stack, image: str, command: list[str], name: str) -> str:
    """The log of a hardened pod that ran `command` to its end."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "budeval"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            # No user id: the image itself must say that it does not run as root.
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [{"name": "tmp", "emptyDir": {}}],
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "imagePullPolicy": "Never",
                    "command": command,
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the pod's own
                }
            ],
        },
    }
    stack.kubectl(1, "create", "--filename", "-", stdin=json.dumps(pod))
    where = ["--namespace", "budeval"]

    def phase() -> str | None:
        found = stack.kubectl(1, "get", "pod", name, *where, "--output", "jsonpath={.status.phase}")
        return found if found in {"Succeeded", "Failed"} else None

    ended = wait_for(phase, f"the end of pod {name}", 180)
    log = stack.kubectl(1, "logs", name, *where)
    stack.kubectl(1, "delete", "pod", name, "--wait=false", *where)
    assert ended == "Succeeded", log
    return log


def test_the_opencompass_image_runs_without_torch_and_hub(stack: Stack) -> None:
    """OpenCompass 0.5.4 imports as non-root on a read-only root, with its tokenizer at hand."""
    stack.up()
    script = (
        "import json, opencompass, os;"
        "from opencompass.models import OpenAISDK;"
        "from transformers import AutoTokenizer;"
        "t = AutoTokenizer.from_pretrained('/opt/tokenizer');"
        "tokens = len(t.encode('one two'));"
        "print(json.dumps([opencompass.__version__, OpenAISDK.__name__, tokens, os.getuid()]))"
    )

    log = _run(stack, images.opencompass().tag, ["python3", "-c", script], "opencompass")

    version, model, tokens, user = json.loads(log.splitlines()[-1])
    assert (version, model, user) == ("0.5.4", "OpenAISDK", 10001)
    assert tokens > 0


def test_the_services_own_image_holds_all_it_needs(stack: Stack) -> None:
    """Budeval's image imports the service, finds its playbooks and the kubernetes.core collection."""
    stack.up()
    archive = images.budeval().archive()
    address = containerd.socket(stack.clusters[0])
    load: list[str | Path] = [
        "ctr",
        "--address",
        address,
        "--namespace",
        "k8s.io",
        "images",
        "import",
        archive,
    ]
    subprocess.run(load, check=True, capture_output=True)
    script = (
        "import json, os, subprocess, budeval.main;"
        "os.environ['BUDEVAL_SEAL_KEYS'] = 'A' * 43 + '=';"
        "from budeval.ansible.runner import PLAYBOOKS;"
        "run = lambda *c: subprocess.run(c, capture_output=True, text=True, check=True).stdout;"
        "playbook = str(PLAYBOOKS / 'verify_cluster_k8s.yml');"
        "checked = run('ansible-playbook', '--syntax-check', playbook);"
        "collections = run('ansible-galaxy', 'collection', 'list', 'kubernetes.core');"
        "print(json.dumps([budeval.main.create_app().title, playbook in checked, collections]))"
    )

    log = _run(stack, images.budeval().tag, ["python", "-c", script], "budeval-image")

    title, checked, collections = json.loads(log.splitlines()[-1])
    assert title == "budeval"
    assert checked
    assert "6.6.0" in collections
