"""Which bundles there are, for the API and the command line: what `model.bundle_index` reads, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from model.bundle_index import BundleInfo, find_bundle, list_bundles, sums_sha256
from model.bundle_index import describe as describe_bundle
from model.errors import BundleError
from worker.errors import ModelUnavailable


class ModelFacts(BaseModel):
    """A bundle, as its configuration describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    folder: Path
    frame_size: int
    num_keypoints: int
    has_jacobians: bool
    num_parameters: int
    description: str
    licence: str
    created: str
    bundle_sha256: str
    """Of its configuration and weights; keypoints of one bundle mean nothing to another."""


def list_models(folders: Sequence[Path]) -> list[ModelFacts]:
    """All usable bundles, by name. One in an earlier folder hides one of the same name in a later one or that ships."""
    return [_facts(info) for info in list_bundles(folders).bundles]


def find_model(name: str, folders: Sequence[Path]) -> ModelFacts:
    """The bundle called `name`. Raises ModelUnavailable: `unknown_model` with the names that exist, or its damage."""
    try:
        return _facts(describe_bundle(find_bundle(name, folders)))
    except BundleError as error:
        code = "unknown_model" if error.code in ("bundle_not_found", "bundle_name_invalid") else error.code
        raise ModelUnavailable(error.detail, code=code, hint=error.hint) from error


def _facts(info: BundleInfo) -> ModelFacts:
    return ModelFacts(
        name=info.name,
        folder=info.directory,
        frame_size=info.config.frame_size,
        num_keypoints=info.config.num_keypoints,
        has_jacobians=info.config.estimate_jacobian,
        num_parameters=info.num_parameters,
        description=info.provenance.notes,
        licence=info.provenance.licence,
        created=info.provenance.created,
        bundle_sha256=sums_sha256(info.directory),
    )
