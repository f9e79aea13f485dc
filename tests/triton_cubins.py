"""Compile the Triton kernels at D = 64, m = 64 for sm_80 and sm_90, and print what each needs, as a
line of JSON. No GPU is needed.
"""

import json
import re
import subprocess
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from reformer_pl.lsh import triton_attend, triton_hash
from reformer_pl.lsh.plan import Plan
from reformer_pl.lsh.triton_road import hash_options, kernel_options

TOOL = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
ELEMENTS = {torch.bfloat16: "*bf16", torch.float32: "*fp32"}
NAMES = ("hash_tokens", "forward_round", "backward_queries", "backward_keys")
OF_THE_MODEL = ("Q", "V", "Out", "Grad", "GradQ", "GradV")
WORDS = {"Order": "*i32", "Code": "*i32", "Buckets": "*i32", "Padding": "*i64"}
SUMS = ("Rotations", "Sum", "SumQ", "SumV", "Lse", "Delta")


def compiled(
    name: str, dtype: torch.dtype, arch: int, plan: Plan, d: int = 64, sums: str = "*fp32"
) -> dict[str, object]:
    """What one kernel needs; `sums` is the type of what a single round writes its result into."""
    if name == "hash_tokens":
        kernel, options = triton_hash.hash_tokens, hash_options(d, (64, 32))
    else:
        kernel, options = getattr(triton_attend, name), kernel_options(plan, d, dtype)
    launch = {key: options.pop(key) for key in ("num_warps", "num_stages")}
    types = dict.fromkeys(OF_THE_MODEL, ELEMENTS[dtype]) | WORDS | dict.fromkeys(SUMS, "*fp32")
    types |= {"Sum": sums, "SumV": sums} | dict.fromkeys(options, "constexpr")
    signature = {argument: types.get(argument, "i32") for argument in kernel.arg_names}
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, argument in enumerate(kernel.arg_names)
        if signature[argument].startswith("*")
    }
    source = ASTSource(kernel, signature, constexprs=options, attrs=aligned)
    binary = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=launch)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        usage = subprocess.run(
            [TOOL, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    registers, stack, local = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", usage).groups()
    return {
        "kernel": name,
        "dtype": str(dtype).removeprefix("torch."),
        "arch": arch,
        "registers": int(registers),
        "shared": binary.metadata.shared,
        "spilled": int(stack) + int(local),
    }


if __name__ == "__main__":
    empty = torch.empty(0)
    plan = Plan(empty, empty, empty, 64, True, True, True, "chunk", 0)
    for arch in (80, 90):
        for dtype in ELEMENTS:
            for name in NAMES:
                print(json.dumps(compiled(name, dtype, arch, plan)), flush=True)
    # A single round sums into its result, which has the model's dtype.
    for name in NAMES[1:]:
        print(json.dumps(compiled(name, torch.bfloat16, 90, plan, sums="*bf16")), flush=True)
