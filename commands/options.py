"""What several commands share: the settings of the environment, and the flags that change them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from worker.settings import Settings

device_option = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the network runs.")
precision_option = click.option(
    "--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), help="Of the network."
)

data_dir_option = click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="That of `animato up`. [data]"
)


def read_settings(**overrides: object) -> Settings:
    """The settings of the environment, changed by the flags that were given."""
    from worker.settings import Settings

    given = {name: value for name, value in overrides.items() if value is not None}
    return Settings(**given)  # pyright: ignore[reportArgumentType]
