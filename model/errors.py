"""Everything that can go wrong in `model`, as one small tree.

    ModelError
    ├── ConfigError       a configuration that cannot be understood
    ├── CheckpointError   a published checkpoint that cannot be imported
    ├── BundleError       a bundle that is absent, damaged or does not fit its configuration
    ├── DeviceError       a device or a precision that this machine does not have
    └── NumericalError    the networks produced something that is not a number

The `code` is stable: programs may compare it, and the list below is the whole vocabulary.

    config_invalid config_missing_key config_unknown_key
    checkpoint_incomplete checkpoint_is_html checkpoint_lfs_pointer checkpoint_mismatch checkpoint_not_a_checkpoint
    checkpoint_not_finite checkpoint_not_found checkpoint_truncated checkpoint_unsafe_pickle
    bundle_damaged bundle_exists bundle_mismatch bundle_name_invalid bundle_not_found bundle_version_unsupported
    device_unavailable precision_unsupported
    output_not_finite

Wrong arguments to a function (a frame of the wrong size, say) are `ValueError`, as everywhere in Python.

This module imports nothing, so that code without torch can raise and catch these errors.
"""


class ModelError(Exception):
    """A failure with a stable `code`, a `detail` that says what happened and a `hint` that says what to do.

    The three are also the exception's `args`, so that it survives pickling between processes.
    """

    def __init__(self, code: str, detail: str, hint: str = "") -> None:
        super().__init__(code, detail, hint)
        self.code = code
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.detail} {self.hint}".rstrip()


class ConfigError(ModelError):
    """A model configuration has unknown, missing or impossible values."""


class CheckpointError(ModelError):
    """A published checkpoint cannot be read, or does not fit the configuration it was imported with."""


class BundleError(ModelError):
    """A bundle cannot be found, written, verified or loaded."""


class DeviceError(ModelError):
    """The requested device or precision does not exist here."""


class NumericalError(ModelError):
    """The networks produced NaN or infinity."""
