"""What the network's failures mean.

What torch raised comes from a torch that is loaded; to load it here would take seconds, and memory.
"""

from __future__ import annotations

import gc
import sys

from worker.errors import InferenceFailed

_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate",
    "DefaultCPUAllocator: not enough",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
_BROKEN_DEVICE = ("CUDA error", "CUDNN_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_EXECUTION_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the same work may succeed in smaller pieces."""
    torch = sys.modules.get("torch")
    of_torch = torch is not None and isinstance(error, torch.OutOfMemoryError)
    return of_torch or isinstance(error, MemoryError) or _says(error, _OUT_OF_MEMORY)


def as_inference_failure(error: Exception) -> InferenceFailed | None:
    """What the model or torch raised, as an error of ours; None when it comes from neither.

    `device_error` means that the CUDA context of this process is broken for good.
    """
    from model.errors import ModelError

    if isinstance(error, ModelError):
        return InferenceFailed(error.detail, code=error.code, hint=error.hint, retryable=False)
    if is_out_of_memory(error):
        return InferenceFailed(
            "The worker ran out of memory.",
            code="out_of_memory",
            hint="It was tried down to single frames: the operator can run fewer worker children on the device.",
        )
    torch = sys.modules.get("torch")
    if (torch is not None and isinstance(error, torch.AcceleratorError)) or _says(error, _BROKEN_DEVICE):
        return InferenceFailed("The worker's device failed.", code="device_error")
    return None


def free_memory() -> None:
    """Give back what torch keeps for later: the next, smaller piece may need it in another shape."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _says(error: BaseException, signs: tuple[str, ...]) -> bool:
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
