"""What the documents name exists: paths, make targets, commands, settings, routes."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import typer

from benchmarks.scoring import report
from budeval.ansible import failures
from budeval.cli import app as client_app
from budeval.config import EngineConfig, Settings, StorageConfig
from budeval.main import create_app
from budeval.scoring.settings import ScoringSettings
from dev.__main__ import app as dev_app

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
_IDS = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

# How sources write the code of a failure: by its name, or first in an error of a pod's program.
_CODES = (
    r'code(?:: str)? ?= ?"([A-Z_]+)"',
    r'"code": "([A-Z_]+)"',
    r'RunError\(\s*"([A-Z_]+)"',
    r'(?:warnings\.add\(|yield )\s*"([A-Z_]+)"',
    r'return "([A-Z]+_[A-Z_]+)", f?"',
    r'RunState\.[A-Z]+, "([A-Z_]+)"',
    r'^ +"([A-Z]+(?:_[A-Z]+)+)",$',
    r'(?:code=|or )"([A-Z]+(?:_[A-Z]+)+)"',
)

# First parts of paths that are the repository's own.
_OUR_TREES = tuple(f"{path.name}/" for path in ROOT.iterdir() if path.is_dir() and path.name[0] != ".")


def _code(text: str) -> list[str]:
    """Inline code, and the lines of indented and fenced blocks."""
    inline = re.findall(r"`([^`\n]+)`", text)
    blocks = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return inline + blocks


@pytest.mark.parametrize("document", DOCUMENTS, ids=_IDS)
def test_links_lead_somewhere(document: Path) -> None:
    """Each relative link is a path of the repository."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())

    missing = [target for target in targets if not (document.parent / target).exists()]

    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=_IDS)
def test_named_paths_exist(document: Path) -> None:
    """Each path in code that starts with a directory of ours is there; `<…>` and `*` may stand in it."""
    words = [word.rstrip(".,:;)") for code in _code(document.read_text()) for word in code.split()]
    paths = [word for word in words if word.startswith(_OUR_TREES)]

    missing = [path for path in paths if not list(ROOT.glob(re.sub(r"<[^>]+>", "*", path)))]

    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=_IDS)
def test_named_make_targets_exist(document: Path) -> None:
    """Each `make x` is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))

    named = {
        target for code in _code(document.read_text()) for target in re.findall(r"\bmake ([a-z0-9-]+)", code)
    }

    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=_IDS)
def test_named_dev_commands_exist(document: Path) -> None:
    """Each `python -m dev x` is a command."""
    commands = set(typer.main.get_command(dev_app).commands)  # type: ignore[attr-defined]
    pattern = r"python -m dev ([a-z]+)"

    named = {command for code in _code(document.read_text()) for command in re.findall(pattern, code)}

    assert named <= commands


@pytest.mark.parametrize("document", DOCUMENTS, ids=_IDS)
def test_named_client_commands_exist(document: Path) -> None:
    """Each `python -m budeval x` is a command."""
    commands = set(typer.main.get_command(client_app).commands)  # type: ignore[attr-defined]
    pattern = r"python -m budeval ([a-z-]+)"

    named = {command for code in _code(document.read_text()) for command in re.findall(pattern, code)}

    assert named <= commands


def test_every_setting_that_is_documented_exists() -> None:
    """docs/operations.md names no environment variable that nobody reads."""
    settings = {f"BUDEVAL_{name.upper()}" for name in Settings.model_fields}
    settings |= {f"BUDEVAL_STORAGE_{name.upper()}" for name in StorageConfig.model_fields}
    settings |= {f"BUDEVAL_IMAGE_{name.upper()}" for name in EngineConfig.model_fields}
    settings |= {f"BUDEVAL_SCORING_{name.upper()}" for name in ScoringSettings.model_fields}

    named = set(re.findall(r"`(BUDEVAL_[A-Z_]+)`", (ROOT / "docs" / "operations.md").read_text()))

    assert named
    assert named - {"BUDEVAL_TOKEN"} <= settings  # that one is the command line's


def test_every_code_is_documented() -> None:
    """docs/operations.md explains each failure code, docs/results.md each warning."""
    sources = "\n".join(path.read_text() for path in (ROOT / "budeval").rglob("*.py"))
    codes = {code for pattern in _CODES for code in re.findall(pattern, sources, re.MULTILINE)}
    codes |= {rule.code for rule in failures._ANSWERS} | {rule.code for rule in failures._SILENCES}

    documented = "".join((ROOT / "docs" / name).read_text() for name in ("operations.md", "results.md"))

    assert {"NAME_TAKEN", "CLUSTER_UNREACHABLE", "IMAGE_PULL", "RESULT_MISSING", "NOT_STARTED"} <= codes
    assert [code for code in sorted(codes) if f"`{code}`" not in documented] == []


def test_the_openapi_document_is_that_of_the_code() -> None:
    """docs/openapi.json is what the application serves; `make openapi` writes it anew."""
    written = json.loads((ROOT / "docs" / "openapi.json").read_text())

    assert written == create_app().openapi()


def test_the_report_of_the_benchmark_is_that_of_its_data() -> None:
    """What a number does not tell by itself is a remark in the data, not a change of the report by hand."""
    place = Path(report.__file__).parent
    data = {part: json.loads((place / f"{part}.json").read_text()) for part in ("speed", "cost", "agreement")}

    assert (place / "report.md").read_text() == report.written(data)


def test_the_readmes_routes_exist() -> None:
    """Each URL of the service in the README is a route."""
    paths = [re.sub(r"\{[^}]+\}", "<x>", path) for path in create_app().openapi()["paths"]]

    named = re.findall(r"localhost:13080(/[^ '\n]*)", (ROOT / "README.md").read_text())

    assert named
    assert [url for url in named if re.sub(r"<[^>]+>", "<x>", url) not in paths] == []


def test_the_wheel_holds_the_playbooks(tmp_path: Path) -> None:
    """What is installed can run: the built wheel has every file of the package, playbooks too."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)

    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())

    files = [path for path in (ROOT / "budeval").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {str(path.relative_to(ROOT)) for path in files} <= held


def test_no_registry_is_named() -> None:
    """Where packages come from is the machine's business: no file of ours names a registry's host."""
    hosts = [
        "py" + "pi.org",
        "python" + "hosted.org",
        "npm" + "js.org",
        "proxy.go" + "lang",
        "deb." + "debian",
    ]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    files = [ROOT / name for name in listed.stdout.splitlines()]

    naming = [file.name for file in files if any(host in file.read_text() for host in hosts)]

    assert naming == []
