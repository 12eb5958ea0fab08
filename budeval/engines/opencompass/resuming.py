"""What a start takes over from the attempts before it: only replies and scores to what it asks itself.

OpenCompass, told to go on with an attempt, asks nothing of which a file is there, and scores the replies of
that file with the references of now. But rows on the claim may have been replaced since, and a newer image or
service may ask in other words. So `.budeval/asked.json` tells what every attempt in a run's directory was
asked. Where a start asks anything else, they are moved out of OpenCompass' and the extractor's sight before
the file is written anew: whatever cuts a start off, no attempt is ever there beside what it was not asked.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any

from budeval.engines.in_pod.files import read_json, say, write_json

STAMP = re.compile(r"\d{8}_\d{6}")


def what_is_asked(config: str, version: str | None, planned: list[dict[str, Any]]) -> dict[str, Any]:
    """All that decides on replies and scores.

    `config` is OpenCompass' configuration (model, decoding, evaluators, stock datasets); the prompts and
    answers of own datasets are in files that it only names, so their digests stand beside it.
    """
    return {
        "schema": 1,
        "version": version,
        "configuration": hashlib.sha256(config.encode()).hexdigest(),
        "datasets": {item["abbr"]: item.get("sha256") for item in planned},
    }


def set_aside_others(run_dir: str, asked: dict[str, Any]) -> None:
    """Move attempts that were asked anything else than `asked` away, and note it for those to come."""
    known = os.path.join(run_dir, ".budeval", "asked.json")
    before = read_json(known)
    if before == asked:
        return
    earlier = stamps(run_dir)
    if earlier:
        say(f"beginning anew, all is asked again: {difference(before, asked)}")
        aside = next_aside(run_dir)
        for stamp in earlier:
            say(f"setting {stamp} aside, in {os.path.relpath(aside, run_dir)}")
            os.rename(os.path.join(run_dir, stamp), os.path.join(aside, stamp))
    write_json(known, asked)


def difference(before: dict[str, Any] | None, asked: dict[str, Any]) -> str:
    """Why the attempts so far are of no use, for people."""
    if before is None or before.get("schema") != asked["schema"]:
        return "what the attempts so far were asked is not known"
    datasets = before["datasets"]
    changed = [abbr for abbr, digest in asked["datasets"].items() if datasets.get(abbr) != digest]
    if changed:
        return f"since the last start the prompts or answers of {', '.join(changed)} have changed"
    return "since the last start OpenCompass' version or its configuration has changed"


def next_aside(run_dir: str) -> str:
    """A directory that nothing was moved to yet."""
    place = os.path.join(run_dir, ".budeval", "set-aside")
    os.makedirs(place, exist_ok=True)
    aside = os.path.join(place, str(len(os.listdir(place)) + 1))
    os.mkdir(aside)
    return aside


def stamps(run_dir: str) -> list[str]:
    """The attempts in a run's directory by OpenCompass' names, the oldest first."""
    return sorted(filter(STAMP.fullmatch, os.listdir(run_dir)))


def resume(run_dir: str) -> list[str]:
    """Go on with the newest attempt, by its name: `latest` takes what sorts last, as our own directory."""
    found = stamps(run_dir)
    return ["-r", found[-1]] if found else []


def heal(run_dir: str) -> None:
    """Remove what an earlier attempt left broken: OpenCompass takes any file for a finished one."""
    for kind in ("predictions", "results"):
        for path in json_files(run_dir, kind):
            document = read_json(path)
            if document is None or (kind == "results" and "error" in document):
                say(f"removing the broken {os.path.relpath(path, run_dir)}")
                os.remove(path)


def json_files(run_dir: str, kind: str) -> list[str]:
    """The JSON files of one kind in all attempts of a run."""
    found = []
    for stamp in stamps(run_dir):
        for folder, _, names in os.walk(os.path.join(run_dir, stamp)):
            if f"/{kind}/" in folder + "/":
                found += [os.path.join(folder, name) for name in names if name.endswith(".json")]
    return sorted(found)
