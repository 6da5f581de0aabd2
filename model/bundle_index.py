"""Which bundles there are, and what they say of themselves. Needs no torch: weights are not opened here.

A bundle is a directory; its name is the directory's name.

    config.json           what is documented at `describe`
    weights.safetensors   see `model.bundle`
    SHA256SUMS            one line for each of the two, as `sha256sum --check` reads it

`config.json` has five keys: `format` ("animato-bundle"), `format_version`, `model` (`ModelConfig.to_dict`), `weights`
(`file`, `dtype`, `num_parameters`) and `provenance` (`Provenance`). Everything in it is plain JSON.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from model.config import ModelConfig
from model.errors import BundleError, ConfigError

FORMAT = "animato-bundle"
FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.safetensors"
SUMS_FILE = "SHA256SUMS"
SHIPPED = Path(__file__).parent / "bundles"

# A name arrives from outside and becomes a path: no separator, no leading dot.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_HASH_LINE = re.compile(r"([0-9a-f]{64}) [ *]([A-Za-z0-9._-]+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where weights come from. Free text, shown to people and never interpreted."""

    source_file: str = ""
    source_sha256: str = ""
    licence: str = ""
    notes: str = ""
    created: str = ""
    """Time of writing, ISO 8601 in UTC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleInfo:
    """What a bundle says of itself."""

    name: str
    directory: Path
    config: ModelConfig
    dtype: str
    """The type in which convolution weights are stored, `fp32` or `fp16`. They always run as asked of the Animator."""
    num_parameters: int
    size_bytes: int
    """Of the weights file."""
    provenance: Provenance

    @property
    def shipped(self) -> bool:
        """Return whether the bundle is a part of this package."""
        return self.directory.parent == SHIPPED


class BundleListing(NamedTuple):
    """The bundles that can be used, and why others cannot."""

    bundles: tuple[BundleInfo, ...]
    problems: tuple[BundleError, ...]


def list_bundles(directories: Iterable[Path] = ()) -> BundleListing:
    """Describe every bundle in `directories` and then among those that ship, sorted by name.

    The first directory that has a name wins. A directory that does not exist is empty; a folder without
    `config.json` is not a bundle; a bundle that cannot be described is reported in `problems`.
    """
    found: dict[str, BundleInfo] = {}
    problems: list[BundleError] = []
    for parent in (*directories, SHIPPED):
        for config_path in sorted(parent.glob(f"*/{CONFIG_FILE}")):
            if config_path.parent.name in found or not _NAME.fullmatch(config_path.parent.name):
                continue
            try:
                found[config_path.parent.name] = describe(config_path.parent)
            except BundleError as error:
                problems.append(error)
    return BundleListing(tuple(found[name] for name in sorted(found)), tuple(problems))


def find_bundle(name: str, directories: Iterable[Path] = ()) -> Path:
    """Return the directory of the bundle called `name`: the first of `directories` that has it, then those that ship.

    Raises `BundleError` with code `bundle_name_invalid` or `bundle_not_found`.
    """
    if not _NAME.fullmatch(name):
        raise BundleError("bundle_name_invalid", f"{name!r} is not a bundle's name.", "It is a name, not a path.")
    parents = (*directories, SHIPPED)
    for parent in parents:
        if (parent / name / CONFIG_FILE).is_file():
            return parent / name
    known = ", ".join(info.name for info in list_bundles(parents).bundles)
    raise BundleError("bundle_not_found", f"There is no bundle called {name!r}.", f"There are: {known or 'none'}.")


def describe(directory: Path) -> BundleInfo:
    """Read a bundle's `config.json`. The weights are not read and nothing is verified: `verify` does that.

    Raises `BundleError` with code `bundle_not_found`, `bundle_damaged` or `bundle_version_unsupported`.
    """
    document = _read_json(directory)
    if document.get("format") != FORMAT:
        raise BundleError("bundle_damaged", f"{directory.name}/{CONFIG_FILE} does not describe a bundle.")
    if document.get("format_version") != FORMAT_VERSION:
        raise BundleError(
            "bundle_version_unsupported",
            f"{directory.name} has format version {document.get('format_version')!r}; this program reads "
            f"{FORMAT_VERSION}.",
        )
    try:
        weights, provenance = document["weights"], document["provenance"]
        known = {entry.name for entry in fields(Provenance)}
        return BundleInfo(
            name=directory.name,
            directory=directory,
            config=ModelConfig.from_dict(document["model"]),
            dtype=str(weights["dtype"]),
            num_parameters=int(weights["num_parameters"]),
            size_bytes=(directory / WEIGHTS_FILE).stat().st_size,
            provenance=Provenance(**{key: str(value) for key, value in provenance.items() if key in known}),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError, OSError) as error:
        raise BundleError("bundle_damaged", f"{directory.name}/{CONFIG_FILE} cannot be used: {error}") from error


def verify(directory: Path) -> None:
    """Compare the hash of every file of the bundle with `SHA256SUMS`.

    Raises `BundleError` with code `bundle_damaged` if one differs, is absent or is not listed.
    """
    try:
        lines = (directory / SUMS_FILE).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError("bundle_damaged", f"{directory.name}/{SUMS_FILE} cannot be read: {error}") from error
    matches = [_HASH_LINE.fullmatch(line) for line in lines]
    expected = {match[2]: match[1] for match in matches if match}
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if name not in expected:
            raise BundleError("bundle_damaged", f"{directory.name}/{SUMS_FILE} has no hash of {name}.")
        try:
            actual = sha256_of(directory / name)
        except OSError as error:
            raise BundleError("bundle_damaged", f"{directory.name}/{name} cannot be read: {error}") from error
        if actual != expected[name]:
            raise BundleError(
                "bundle_damaged",
                f"{directory.name}/{name} has SHA-256 {actual[:12]}..., but {expected[name][:12]}... was written.",
                "The copy is incomplete or was changed: copy or import the bundle again.",
            )


def config_document(
    config: ModelConfig, provenance: Provenance, *, dtype: str, num_parameters: int
) -> Mapping[str, Any]:
    """Return what `config.json` holds."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": config.to_dict(),
        "weights": {"file": WEIGHTS_FILE, "dtype": dtype, "num_parameters": num_parameters},
        "provenance": asdict(provenance),
    }


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sums_sha256(directory: Path) -> str:
    """Return one hash for the whole bundle: that of `SHA256SUMS`, which `verify` holds its files to.

    Raises `BundleError` with code `bundle_damaged`.
    """
    try:
        return sha256_of(directory / SUMS_FILE)
    except OSError as error:
        raise BundleError("bundle_damaged", f"{directory.name}/{SUMS_FILE} cannot be read: {error}") from error


def _read_json(directory: Path) -> Mapping[str, Any]:
    path = directory / CONFIG_FILE
    if not path.is_file():
        raise BundleError("bundle_not_found", f"{directory.name} is not a bundle: it has no {CONFIG_FILE}.")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError("bundle_damaged", f"{directory.name}/{CONFIG_FILE} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise BundleError("bundle_damaged", f"{directory.name}/{CONFIG_FILE} does not describe a bundle.")
    return document
