"""Cells of one study on unlike devices: a mean of their memory or times is of nothing."""

import pandas as pd

from ablations.result_columns import BENCHMARK_ONLY, COSTS, FLAGS, WHOLE
from experiments.run_dir.outcome import OK

# What a device decides, of a row of `load_cells`.
OF_A_DEVICE = tuple(
    name for name in (*COSTS, *BENCHMARK_ONLY) if name not in FLAGS and name not in WHOLE
)


def devices_of(cells: pd.DataFrame) -> dict[str, list[str]]:
    """The devices of each variant's cells that ended well; cells are rows of `load_cells`.

    Processors of all kinds are "CPU": a step takes the same memory on each.
    """
    finished = cells[cells["status"] == OK].dropna(subset=["device"])
    kinds = finished["device"].str.replace(r"^CPU\b.*", "CPU", regex=True)
    return {
        variant: sorted(set(devices))
        for variant, devices in kinds.groupby(finished["train"], sort=False)
    }


def without_mixed_costs(cells: pd.DataFrame) -> pd.DataFrame:
    """The rows, without memory and times where the cells of a variant ran on several devices."""
    mixed = [variant for variant, devices in devices_of(cells).items() if len(devices) > 1]
    rows = cells["train"].isin(mixed)
    if not rows.any():
        return cells
    numbers = [name for name in OF_A_DEVICE if pd.api.types.is_numeric_dtype(cells[name])]
    return cells.assign(**{name: cells[name].mask(rows) for name in numbers})


def devices_note(cells: pd.DataFrame) -> str:
    """For a caption: which variants ran on which devices, where there are several; else empty."""
    variants: dict[str, list[str]] = {}
    for variant, devices in devices_of(cells).items():
        for device in devices:
            variants.setdefault(device, []).append(variant)
    if len(variants) < 2:
        return ""
    places = "; ".join(f"{device}: {', '.join(names)}" for device, names in variants.items())
    return (
        f" The cells ran on several devices ({places}). Memory and times of a variant that ran on "
        "two of them are left out, and those of unlike devices cannot be compared."
    )
