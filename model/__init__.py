"""The First Order Motion Model: networks, inference, and the files they live in.

The names below are the public surface. They are imported when first used, so that `import model.config` and
`import model.bundle_index` work where torch is not installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.bundle import Bundle, load_bundle, save_bundle
    from model.bundle_index import BundleInfo, describe, find_bundle, list_bundles
    from model.config import PRESETS, ModelConfig, MotionTransferOptions
    from model.errors import ModelError
    from model.import_original import import_checkpoint
    from model.inference.animator import Animator, PreparedSource

_HOMES = {
    "Animator": "model.inference.animator",
    "Bundle": "model.bundle",
    "BundleInfo": "model.bundle_index",
    "ModelConfig": "model.config",
    "ModelError": "model.errors",
    "MotionTransferOptions": "model.config",
    "PRESETS": "model.config",
    "PreparedSource": "model.inference.animator",
    "describe": "model.bundle_index",
    "find_bundle": "model.bundle_index",
    "import_checkpoint": "model.import_original",
    "list_bundles": "model.bundle_index",
    "load_bundle": "model.bundle",
    "save_bundle": "model.bundle",
}

__all__ = [
    "PRESETS",
    "Animator",
    "Bundle",
    "BundleInfo",
    "ModelConfig",
    "ModelError",
    "MotionTransferOptions",
    "PreparedSource",
    "describe",
    "find_bundle",
    "import_checkpoint",
    "list_bundles",
    "load_bundle",
    "save_bundle",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
