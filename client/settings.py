"""What the environment says to a client: `ANIMATO_SERVER` and `ANIMATO_API_KEY`."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ClientSettings(BaseSettings):
    """Where the service is, and who asks."""

    model_config = SettingsConfigDict(env_prefix="ANIMATO_", extra="ignore", frozen=True)

    server: str = "http://127.0.0.1:8000"
    api_key: str = Field(default="", repr=False)
