import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.bundle import Bundle, bundle_state, load_bundle, save_bundle
from model.bundle_index import CONFIG_FILE, SUMS_FILE, WEIGHTS_FILE, Provenance, describe, find_bundle, list_bundles
from model.bundle_index import sha256_of as sha256
from model.config import ModelConfig
from model.errors import BundleError
from model.networks.assembly import Networks
from model.training.presets import PRESETS


def code_of(function: Callable[[], object]) -> str:
    with pytest.raises(BundleError) as caught:
        function()
    assert caught.value.detail
    return caught.value.code


def rewrite_sums(directory: Path) -> None:
    lines = (f"{sha256(directory / name)}  {name}\n" for name in (CONFIG_FILE, WEIGHTS_FILE))
    (directory / SUMS_FILE).write_text("".join(lines))


def rewrite_config(directory: Path, **changes: object) -> None:
    path = directory / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    rewrite_sums(directory)


def test_round_trip(tiny_config: ModelConfig, tiny_networks: Networks, tmp_path: Path) -> None:
    provenance = Provenance(source_file="a.pth.tar", source_sha256="0" * 64, licence="MIT", notes="ä", created="now")
    directory = save_bundle(tmp_path / "new" / "mine", tiny_networks, tiny_config, provenance)
    bundle = load_bundle(directory)
    assert bundle.config == tiny_config
    assert (bundle.info.name, bundle.info.provenance, bundle.info.dtype) == ("mine", provenance, "fp32")
    assert sorted(path.name for path in directory.iterdir()) == sorted((CONFIG_FILE, WEIGHTS_FILE, SUMS_FILE))
    assert [path.name for path in directory.parent.iterdir()] == ["mine"]  # no staging directory is left
    saved, loaded = bundle_state(tiny_networks), bundle_state(bundle.networks)
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[key], loaded[key]) for key in saved)
    assert not any(network.training for network in bundle.networks)


def test_half_is_smaller_near_and_float32_when_loaded(
    tiny_config: ModelConfig, tiny_networks: Networks, tmp_path: Path
) -> None:
    full = describe(save_bundle(tmp_path / "full", tiny_networks, tiny_config, Provenance()))
    half = load_bundle(save_bundle(tmp_path / "half", tiny_networks, tiny_config, Provenance(), half=True))
    assert half.info.dtype == "fp16"
    assert half.info.size_bytes < full.size_bytes
    saved, loaded = bundle_state(tiny_networks), bundle_state(half.networks)
    for key, value in loaded.items():
        assert value.dtype == torch.float32
        assert torch.allclose(value, saved[key], rtol=1e-3, atol=1e-6)
    assert torch.equal(loaded["keypoint_detector.down.weight"], saved["keypoint_detector.down.weight"])
    assert load_file(half.info.directory / WEIGHTS_FILE)["generator.final.weight"].dtype == torch.float16


def test_sums_are_what_sha256sum_reads(tiny_bundle: Bundle) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("needs sha256sum")
    directory = tiny_bundle.info.directory
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", SUMS_FILE], cwd=directory, check=True)


def test_an_existing_bundle_is_not_overwritten(tiny_bundle: Bundle) -> None:
    directory = tiny_bundle.info.directory
    assert code_of(lambda: save_bundle(directory, tiny_bundle.networks, tiny_bundle.config, Provenance())) == (
        "bundle_exists"
    )


def test_a_failed_write_leaves_nothing(tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.bundle._flush_to_disk", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_bundle(tmp_path / "b" / "x", tiny_bundle.networks, tiny_bundle.config, Provenance())
    assert list((tmp_path / "b").iterdir()) == []


def test_every_changed_byte_is_noticed(tiny_bundle: Bundle) -> None:
    directory = tiny_bundle.info.directory
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        original = (directory / name).read_bytes()
        changed = bytearray(original)
        changed[-3] ^= 1
        (directory / name).write_bytes(changed)
        assert code_of(lambda: load_bundle(directory)) == "bundle_damaged"
        (directory / name).write_bytes(original)
    load_bundle(directory)


@pytest.mark.parametrize("name", [SUMS_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_noticed(tiny_bundle: Bundle, name: str) -> None:
    (tiny_bundle.info.directory / name).unlink()
    assert code_of(lambda: load_bundle(tiny_bundle.info.directory)) == "bundle_damaged"


def test_a_sum_that_is_not_listed_is_noticed(tiny_bundle: Bundle) -> None:
    sums = tiny_bundle.info.directory / SUMS_FILE
    sums.write_text(sums.read_text().splitlines()[0] + "\n")
    assert code_of(lambda: load_bundle(tiny_bundle.info.directory)) == "bundle_damaged"


def test_weights_that_do_not_fit_are_named(tiny_bundle: Bundle) -> None:
    directory = tiny_bundle.info.directory
    state = load_file(directory / WEIGHTS_FILE)
    state["generator.extra"] = state.pop("generator.final.bias")
    state["generator.final.weight"] = state["generator.final.weight"][:, :1].contiguous()
    save_file(state, directory / WEIGHTS_FILE)
    rewrite_sums(directory)
    with pytest.raises(BundleError) as caught:
        load_bundle(directory)
    assert caught.value.code == "bundle_mismatch"
    for part in ("1 missing: generator.final.bias", "1 unexpected: generator.extra", "generator.final.weight is [3, 1"):
        assert part in caught.value.detail


def test_weights_that_are_no_safetensors(tiny_bundle: Bundle) -> None:
    (tiny_bundle.info.directory / WEIGHTS_FILE).write_bytes(b"not tensors")
    rewrite_sums(tiny_bundle.info.directory)
    assert code_of(lambda: load_bundle(tiny_bundle.info.directory)) == "bundle_damaged"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"format": "other"}, "bundle_damaged"),
        ({"format_version": 2}, "bundle_version_unsupported"),
        ({"model": {"name": "x"}}, "bundle_damaged"),
        ({"weights": {}}, "bundle_damaged"),
        ({"provenance": None}, "bundle_damaged"),
    ],
)
def test_a_config_that_cannot_be_used(tiny_bundle: Bundle, changes: dict[str, object], code: str) -> None:
    rewrite_config(tiny_bundle.info.directory, **changes)
    assert code_of(lambda: describe(tiny_bundle.info.directory)) == code


def test_finding_by_name(tiny_bundle: Bundle, tmp_path: Path) -> None:
    parent = tiny_bundle.info.directory.parent
    assert find_bundle("tiny", [tmp_path / "absent", parent]) == tiny_bundle.info.directory
    assert find_bundle("avatars-256", [parent]).parent.name == "bundles"
    with pytest.raises(BundleError, match=r"There are: avatars-256, tiny\.") as caught:
        find_bundle("tinny", [parent])
    assert caught.value.code == "bundle_not_found"


@pytest.mark.parametrize("name", ["", ".", "..", "../tiny", "a/b", "/etc", ".hidden", "a\x00", "a\n", "x" * 101])
def test_a_name_is_not_a_path(name: str, tmp_path: Path) -> None:
    assert code_of(lambda: find_bundle(name, [tmp_path])) == "bundle_name_invalid"


def test_listing(tiny_bundle: Bundle, tmp_path: Path) -> None:
    parent = tiny_bundle.info.directory.parent
    mine = shutil.copytree(tiny_bundle.info.directory, parent / "avatars-256")  # hides the one that ships
    (parent / "broken").mkdir()
    (parent / "broken" / CONFIG_FILE).write_text("{")
    (parent / "empty").mkdir()
    listing = list_bundles([tmp_path / "absent", parent])
    assert [(info.name, info.shipped) for info in listing.bundles] == [("avatars-256", False), ("tiny", False)]
    assert listing.bundles[0].directory == mine
    assert [error.code for error in listing.problems] == ["bundle_damaged"]
    assert "broken" in listing.problems[0].detail
    assert [(info.name, info.shipped) for info in list_bundles().bundles] == [("avatars-256", True)]


def test_the_bundle_that_ships() -> None:
    bundle = load_bundle(find_bundle("avatars-256"))
    assert bundle.config == PRESETS["avatars-256"]().model
    assert sum(file.stat().st_size for file in bundle.info.directory.iterdir()) < 20e6
    assert bundle.info.provenance.licence


def test_listing_and_describing_need_no_torch() -> None:
    code = (
        "import sys, model, model.config, model.errors, model.published_config\n"
        "from model import describe, find_bundle, list_bundles, ModelError, PRESETS\n"
        "assert list_bundles().bundles and describe(find_bundle('avatars-256'))\n"
        "assert not {'torch', 'safetensors', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
