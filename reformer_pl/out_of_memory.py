"""Which errors are for want of memory, whatever library raises them. Imports no torch by itself."""

import re

# torch's allocators, CUDA's runtime and driver ("CUDA error: out of memory", cuda runtime error 2,
# CUDA_ERROR_OUT_OF_MEMORY), NCCL ("Cuda failure 2 'out of memory'"), Triton, ROCm, the libraries
# with status words (CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_INTERNAL_ERROR_..._ALLOCATION_FAILED),
# the system (ENOMEM) and C++.
SIGNS = re.compile(
    r"out[ _]?of[ _]?((device|host)[ _])?memory|not enough memory|alloc(ation)?_?failed"
    r"|cudaErrorMemoryAllocation|(can't|cannot|could not|unable to|failed to) allocate memory"
    r"|\bbad[_ ]alloc(ation)?\b",
    re.IGNORECASE,
)


def names_out_of_memory(text: str) -> bool:
    """Whether a message of an error, or a line of a log, is for want of memory."""
    return SIGNS.search(text) is not None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that it was raised from, is for want of memory."""
    import torch  # the driver of a study reads logs without it

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError | torch.OutOfMemoryError):
            return True
        if names_out_of_memory(str(cause)):
            return True
        cause = cause.__cause__
    return False
