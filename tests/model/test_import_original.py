import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.bundle import bundle_state, load_bundle
from model.bundle_index import sha256_of
from model.config import ModelConfig, mgif_256, vox_256
from model.errors import BundleError, CheckpointError
from model.import_original import import_checkpoint, read_checkpoint
from model.networks.assembly import assemble
from model.published_config import from_published

GOLDEN = Path(__file__).parents[1] / "golden"
ZIP, LEGACY = GOLDEN / "jacobian-cpk.pth.tar", GOLDEN / "jacobian-legacy-cpk.pth.tar"


@pytest.fixture
def config() -> ModelConfig:
    return from_published(json.loads((GOLDEN / "jacobian.json").read_text()), "jacobian")


def failure(path: Path, config: ModelConfig, out: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(path, config, out)
    assert not out.exists()
    assert caught.value.detail
    return caught.value


def saved(content: Any, path: Path, *, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("path", [ZIP, LEGACY])
def test_both_serializations(path: Path, config: ModelConfig, tmp_path: Path) -> None:
    directory = import_checkpoint(path, config, tmp_path / "b", licence="theirs", notes="a note")
    bundle = load_bundle(directory)
    assert bundle.config == config
    provenance = bundle.info.provenance
    assert (provenance.source_file, provenance.licence, provenance.notes) == (path.name, "theirs", "a note")
    assert provenance.source_sha256 == sha256_of(path)
    assert provenance.created.endswith("+00:00")
    original = torch.load(path, weights_only=True)
    state = bundle_state(bundle.networks)
    assert torch.equal(state["generator.final.weight"], original["generator"]["final.weight"])
    assert torch.equal(state["keypoint_detector.kp.bias"], original["kp_detector"]["kp.bias"])


def test_wrapped_keys_and_absent_counters(config: ModelConfig, tmp_path: Path) -> None:
    content = read_checkpoint(ZIP)
    for section in ("generator", "kp_detector"):
        content[section] = {
            f"module.{key}": value for key, value in content[section].items() if "num_batches" not in key
        }
    wrapped = load_bundle(import_checkpoint(saved(content, tmp_path / "w"), config, tmp_path / "wrapped"))
    plain = load_bundle(import_checkpoint(ZIP, config, tmp_path / "plain"))
    expected, actual = bundle_state(plain.networks), bundle_state(wrapped.networks)
    assert all(torch.equal(expected[key], actual[key]) for key in expected)


def test_existing_bundle_is_kept(config: ModelConfig, tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        import_checkpoint(ZIP, config, tmp_path)
    assert caught.value.code == "bundle_exists"


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 123\n"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "checkpoint_truncated"),
        (LFS, "checkpoint_lfs_pointer"),
        (b"<!DOCTYPE html><html><body>Quota exceeded</body></html>", "checkpoint_is_html"),
        (b"\xef\xbb\xbf\n  <HTML><head></head></HTML>", "checkpoint_is_html"),
        (b"hello there", "checkpoint_not_a_checkpoint"),
        (bytes(range(256)) * 4, "checkpoint_not_a_checkpoint"),
        (b"PK\x03\x04", "checkpoint_truncated"),
    ],
)
def test_files_that_are_no_checkpoint(content: bytes, code: str, config: ModelConfig, tmp_path: Path) -> None:
    path = tmp_path / "file.pth.tar"
    path.write_bytes(content)
    assert failure(path, config, tmp_path / "out").code == code


@pytest.mark.parametrize("path", [ZIP, LEGACY])
@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 0.99])
def test_truncated_files(path: Path, share: float, config: ModelConfig, tmp_path: Path) -> None:
    content = path.read_bytes()
    short = tmp_path / "short.pth.tar"
    short.write_bytes(content[: int(len(content) * share)])
    assert failure(short, config, tmp_path / "out").code == "checkpoint_truncated"


def test_absent_file_and_directory(config: ModelConfig, tmp_path: Path) -> None:
    assert failure(tmp_path / "absent", config, tmp_path / "out").code == "checkpoint_not_found"
    assert failure(tmp_path, config, tmp_path / "out").code == "checkpoint_not_a_checkpoint"


class RunsCode:
    """A pickle of this runs a command when it is loaded without care."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain"])
def test_a_pickle_that_runs_code_is_refused_unrun(kind: str, config: ModelConfig, tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.pth.tar", tmp_path / "trace"
    content = {"generator": RunsCode(f"touch {trace}"), "kp_detector": {}}
    if kind == "plain":
        path.write_bytes(pickle.dumps(content))
    else:
        saved(content, path, zipped=kind == "zip")
    assert failure(path, config, tmp_path / "out").code == "checkpoint_unsafe_pickle"
    assert not trace.exists()
    pickle.loads(pickle.dumps(content))  # the same content does run for whoever loads it without care
    assert trace.exists()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ([1, 2], "checkpoint_not_a_checkpoint"),
        (torch.zeros(3), "checkpoint_not_a_checkpoint"),
        ({}, "checkpoint_incomplete"),
        ({"kp_detector": {}, "epoch": 3}, "checkpoint_incomplete"),
        ({"kp_detector": {}, "generator": {"a": "text"}}, "checkpoint_incomplete"),
        ({"kp_detector": {}, "generator": {}}, "checkpoint_mismatch"),
    ],
)
def test_other_contents(content: Any, code: str, config: ModelConfig, tmp_path: Path) -> None:
    error = failure(saved(content, tmp_path / "file"), config, tmp_path / "out")
    assert error.code == code


def test_a_missing_section_is_named(config: ModelConfig, tmp_path: Path) -> None:
    content = read_checkpoint(ZIP)
    del content["generator"]
    error = failure(saved(content, tmp_path / "file"), config, tmp_path / "out")
    assert "has no generator; it has: kp_detector, discriminator" in error.detail


def test_wrong_keys_and_shapes_are_named(config: ModelConfig, tmp_path: Path) -> None:
    content = read_checkpoint(ZIP)
    generator: dict[str, Tensor] = content["generator"]
    generator["renamed"] = generator.pop("final.bias")
    generator["final.weight"] = generator["final.weight"][:1]
    error = failure(saved(content, tmp_path / "file"), config, tmp_path / "out")
    assert error.code == "checkpoint_mismatch"
    for part in (
        "1 missing: generator.final.bias",
        "1 unexpected: generator.renamed",
        "1 of another shape: generator.final.weight is [1, 8, 7, 7], not [3, 8, 7, 7]",
    ):
        assert part in error.detail
    assert "none of the presets" in error.hint


def test_a_long_list_is_cut(config: ModelConfig, tmp_path: Path) -> None:
    error = failure(ZIP, vox_256(), tmp_path / "out")
    assert error.code == "checkpoint_mismatch"
    assert "more" in error.detail
    assert len(error.detail) < 3000


def test_the_preset_that_would_fit_is_named(tmp_path: Path) -> None:
    networks = assemble(mgif_256())
    content = {
        "generator": networks.generator.state_dict(),
        "kp_detector": networks.keypoint_detector.state_dict(),
    }
    error = failure(saved(content, tmp_path / "file"), vox_256(), tmp_path / "out")
    assert "keypoint_detector.jacobian.weight is [4," in error.detail
    assert error.hint == "It fits: mgif-256."


@pytest.mark.parametrize(("value", "half"), [(float("nan"), False), (float("inf"), False), (1e6, True)])
def test_numbers_that_are_none(value: float, half: bool, config: ModelConfig, tmp_path: Path) -> None:
    content = read_checkpoint(ZIP)
    content["generator"]["final.bias"][0] = value
    path = saved(content, tmp_path / "file")
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(path, config, tmp_path / "out", half)
    assert caught.value.code == "checkpoint_not_finite"
    assert "generator.final.bias" in caught.value.detail
