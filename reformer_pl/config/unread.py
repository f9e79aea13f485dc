"""The keys of a config that play no part in its run.

A choice reads its own keys and no others: n_hashes is a number of every config.yaml, and full
attention has no rounds. Runs that differ in such a key alone are the same run, and runs that agree
in it may be unlike.

Which groups of keys below model (model.lsh.*) a word reads stands in GROUPS_OF, and all other keys
of one choice stand in READ_UNDER.
"""

from collections.abc import Iterator, Mapping
from typing import Any

MEASURING = ("attention", "layer", "step")
WHOLE = ("none", "step")  # of benchmark.measure: a training run, and a whole step of one
# A key or a group of keys -> the choice that reads it, and its words there.
READ_UNDER: dict[str, tuple[str, tuple[str, ...]]] = {
    "model.merge": ("model.residual", ("reversible",)),
    # One attention alone has no other layers.
    "model.n_layers": ("benchmark.measure", WHOLE),
    "model.d_ff": ("benchmark.measure", WHOLE),
    "model.dropout": ("benchmark.measure", WHOLE),
    "model.residual": ("benchmark.measure", WHOLE),
    "model.ff_chunks": ("benchmark.measure", WHOLE),
    "model.loss_chunks": ("benchmark.measure", WHOLE),
    "model.positions": ("benchmark.measure", WHOLE),
    "task.source": ("task.name", ("enwik8",)),
    "task.pairs": ("task.name", ("recall",)),
    "task.noise": ("task.name", ("recall",)),
    "optim.betas": ("optim.name", ("adam", "adamw")),
    "optim.weight_decay": ("optim.name", ("adamw",)),
    "phases": ("benchmark.measure", ("none",)),
    "optim": ("benchmark.measure", WHOLE),
    "benchmark": ("benchmark.measure", MEASURING),
    "benchmark.paired": ("benchmark.measure", ("attention", "layer")),
    # A benchmark trains nothing, and scores nothing.
    "trainer.max_steps": ("benchmark.measure", ("none",)),
    "trainer.eval_every_steps": ("benchmark.measure", ("none",)),
    "trainer.log_every_steps": ("benchmark.measure", ("none",)),
    "trainer.coverage_every_steps": ("benchmark.measure", ("none",)),
    "trainer.loggers": ("benchmark.measure", ("none",)),
    "task.split": ("benchmark.measure", ("none",)),
    "task.eval_sequences": ("benchmark.measure", ("none",)),
    "task.curve_sequences": ("benchmark.measure", ("none",)),
}
SLOTS = ("model.attention", "model.positions")
# A word in a slot of the model -> the groups of keys that it reads. One that is not listed reads
# all of them.
GROUPS_OF: dict[str, tuple[str, ...]] = {
    "full": (),
    "shared_full": (),
    "lsh": ("lsh",),
    "local": ("local",),
    "sinks": ("sinks",),
    "blocks": ("blocks",),
    "topk": ("topk",),
    "learned": (),
    "axial": ("axial",),
    "rotary": (),
    "none": (),
}


def unread_keys(values: Mapping[str, Any]) -> set[str]:
    """Those of the dotted keys of a config that its own choices leave unread.

    `values` are flat, as `flat(to_dict(config))` gives them. A key stays where its choice is not
    among them.
    """
    phases = [values, *({**values, "model.attention": word} for word in _later_attentions(values))]
    return {key for key in values if not any(_is_read(key, phase) for phase in phases)}


def _later_attentions(values: Mapping[str, Any]) -> Iterator[str]:
    """What the phases of a run change model.attention to."""
    phases = values.get("phases")
    for overrides in phases.values() if isinstance(phases, Mapping) else ():
        for override in overrides if isinstance(overrides, list) else ():
            key, _, word = str(override).partition("=")
            if key == "model.attention":
                yield word.strip("'\" ")


def _is_read(key: str, values: Mapping[str, Any]) -> bool:
    """Whether the choices that read a key are made, and are read themselves."""
    names = key.split(".")
    for place in (key, names[0]):
        choice, words = READ_UNDER.get(place, (key, ()))
        is_made = key == choice or choice not in values or values[choice] in words
        if not is_made or (key != choice and not _is_read(choice, values)):
            return False
    if names[0] != "model" or len(names) < 3 or not all(slot in values for slot in SLOTS):
        return True
    if names[1] == "lsh" and values.get("trainer.coverage_every_steps"):
        return True  # the coverage of shared_full: how its queries would be hashed
    slots = (slot for slot in SLOTS if _is_read(slot, values))
    words = (word for slot in slots for word in str(values[slot]).split())
    return any(names[1] in GROUPS_OF.get(word, names) for word in words)
