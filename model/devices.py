"""What a device can do."""

import torch


def multiplies_in_bf16(device: torch.device) -> bool:
    """Return whether the device has instructions for bfloat16 (CUDA since Ampere; AVX512-BF16 or AMX).

    Elsewhere it is emulated, which is many times slower than float32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
