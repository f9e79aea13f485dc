"""What a run costs: the door to what is measured and what is predicted."""

from reformer_pl.config import RunConfig
from reformer_pl.config.evaluations import phase_configs
from reformer_pl.config.rules import PEER_PACKAGES
from reformer_pl.memory.peak import GIB as GIB
from reformer_pl.memory.peak import PeakMemory as PeakMemory
from reformer_pl.memory.peak import storage_bytes as storage_bytes
from reformer_pl.memory.peak import training_tensors as training_tensors
from reformer_pl.reach.coverage import attention_coverage as attention_coverage


def predict_memory(config: RunConfig, device: str = "cpu") -> dict[str, float]:
    """GiB of one training step of one process, on a device, at the moment of its peak.

    Nothing is run and no data are read: a prediction takes seconds at any size.

    parameters   the model's
    gradients    those that a parameter already has, with optim.accumulate > 1 from the second
                 micro-batch on all; with trainer.devices > 1 all from the start, in DDP's buckets,
                 beside which the micro-batches have their own
    optimizer    its state, which exists from the second step on
    activations  what the forward pass leaves for backward, and the batch
    temporary    the rest: whatever lived for a while, what backward recomputes, and what fused
                 kernels take within themselves
    total        the sum: what `PeakMemory` counts in the real step, which does not see the buckets

    With device="cuda" it is that of a GPU's kernels, tiles and workspaces, and of its allocator,
    which rounds up to 512 bytes: what is rounded and what cuBLAS keeps is temporary. Beside the
    total, which torch.cuda.max_memory_allocated counts, there is one number more:

    reserved     the segments of 2 and 20 MiB, and more, that hold all this: what must be free. It
                 is without the CUDA context, about half a GiB, and without NCCL

    What trainer.compile spares is not counted. Of a run with phases it is the one that needs most.
    """
    # It builds models, and so imports much that a process which only measures does not need.
    from reformer_pl.memory.predict import predict_step

    predicted = (predict_step(phase, device) for phase in phase_configs(config).values())
    return max(predicted, key=needed_gib)


def predict_attention_memory(config: RunConfig, device: str = "cpu") -> dict[str, float]:
    """The same of one attention, forward and backward, above its inputs and weights.

    With benchmark.measure=attention it is the kernel: hash and sort included, or the naive one with
    benchmark.peer=naive. With benchmark.measure=layer it has its projections.
    """
    from reformer_pl.memory.predict import predict_attention

    return predict_attention(config, device)


def predict_run(config: RunConfig, device: str = "cpu") -> dict[str, float] | None:
    """GiB of what the config runs: a training step, or the attention that a benchmark measures.

    None for a public Reformer.
    """
    if config.benchmark.peer in PEER_PACKAGES:
        return None
    return (
        predict_attention_memory
        if config.benchmark.measure in ("attention", "layer")
        else predict_memory
    )(config, device)


def needed_gib(predicted: dict[str, float]) -> float:
    """What must be free for a prediction: on a GPU whole segments, else the total."""
    return predicted.get("reserved", predicted["total"])
