"""The files of a run: the six of the original scoring manager, ours beside them, and where they lie.

A run is written once its scores are there, and seen whole or not at all. The advice comes later, by itself.
"""

from budeval.scoring.artifacts.names import Artifact
from budeval.scoring.artifacts.places import ArtifactStore, artifact_store
from budeval.scoring.artifacts.writing import Manifest, write_advice, write_artifacts

__all__ = ["Artifact", "ArtifactStore", "Manifest", "artifact_store", "write_advice", "write_artifacts"]
