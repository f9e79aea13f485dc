"""What is for want of memory is `oom`, whichever library says so, and nothing else is."""

from pathlib import Path

import pytest
import torch

from experiments.run_dir.outcome import read_result, record

NO_MEMORY = {
    "the allocator of torch": torch.OutOfMemoryError("full"),
    "Python": MemoryError(),
    "numpy": MemoryError("Unable to allocate 8.00 TiB for an array"),
    "a CPU": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
    "Windows": RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9"),
    "the system": OSError(12, "Cannot allocate memory"),
    "C++": RuntimeError("std::bad_alloc"),
    "cuBLAS": RuntimeError(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    ),
    "cuDNN": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "cuDNN 9": RuntimeError("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    "cuSPARSE": RuntimeError("CUDA error: insufficient resources: CUSPARSE_STATUS_ALLOC_FAILED"),
    "cuRAND": RuntimeError("CURAND_STATUS_ALLOCATION_FAILED"),
    "CUDA": torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be"),
    "CUDA of long ago": RuntimeError("cuda runtime error (2) : out of memory at THCGeneral.cpp:70"),
    "CUDA's driver": RuntimeError("CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY"),
    "CUDA's name for it": RuntimeError("cudaErrorMemoryAllocation: the API call failed"),
    "NCCL": RuntimeError(
        "NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled cuda error\nncclUnhandledCudaError: "
        "Call to CUDA function failed.\nLast error:\nCuda failure 2 'out of memory'"
    ),
    "Triton": RuntimeError("Triton Error [CUDA]: out of memory"),
    "ROCm": torch.AcceleratorError("HIP error: hipErrorOutOfMemory"),
}
OTHER = {
    "cuBLAS's arguments": RuntimeError("CUDA error: CUBLAS_STATUS_INVALID_VALUE"),
    "an address": torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    "a kernel that is too large": RuntimeError("out of resource: shared memory, Required: 264192"),
    "a shape": RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    "a disk": OSError(28, "No space left on device"),
}


def status_of(error: Exception, directory: Path) -> str:
    def work() -> None:
        raise error

    record(work, directory, {})
    result = read_result(directory)
    assert result is not None
    return result["status"]


@pytest.mark.parametrize("library", NO_MEMORY)
def test_want_of_memory_is_oom_by_any_name(library: str, tmp_path: Path) -> None:
    assert status_of(NO_MEMORY[library], tmp_path) == "oom"


@pytest.mark.parametrize("what", OTHER)
def test_another_error_is_failed(what: str, tmp_path: Path) -> None:
    assert status_of(OTHER[what], tmp_path) == "failed"


def test_an_error_raised_from_one_is_one(tmp_path: Path) -> None:
    error = ValueError("the check failed")
    error.__cause__ = NO_MEMORY["cuBLAS"]
    assert status_of(error, tmp_path) == "oom"
