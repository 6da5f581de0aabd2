"""The models, and what requests may be."""

from __future__ import annotations

from fastapi import APIRouter

from api.dependencies import ServicesDep
from api.limits import Limits
from api.openapi import problems
from api.schemas import Model, ModelList
from api.threads import in_thread
from worker.catalog import list_models

router = APIRouter(tags=["service"])


@router.get(
    "/models",
    response_model=ModelList,
    operation_id="list_models",
    summary="List the models",
    responses=problems(),
)
async def get_models(services: ServicesDep) -> ModelList:
    """The models that the option `model` can name."""
    settings = services.settings
    models = await in_thread(list_models, settings.model_dirs)
    return ModelList(data=[Model.of(facts, settings.model) for facts in models])


@router.get(
    "/limits",
    response_model=Limits,
    operation_id="get_limits",
    summary="Read the limits",
    responses=problems(),
)
async def get_limits(services: ServicesDep) -> Limits:
    """What a request and its two files may be, how much and how often, and for how long."""
    return Limits.of(services.settings, services.api_settings)
