"""Count models of bytes: how well do the last n bytes alone predict the next one?

They are rivals without weights. A model of order n knows how often each byte followed each n bytes
in the training part. Witten-Bell smoothing mixes the orders (Witten and Bell 1991):

    p_n(b | c) = (count(c b) + kinds(c) p_{n-1}(b | c')) / (count(c) + kinds(c))

c is the last n bytes, c' all of them but the first, kinds(c) the number of different bytes that
followed c, and p_{-1} is 1/256. So a context that was never seen leaves p_{n-1} as it is.
Shapes: T bytes of training, L length of a window, W windows, P = W L bytes that are scored.
"""

import math
from typing import NamedTuple

import numpy as np

ORDERS = (0, 1, 2, 3, 4)  # bytes of context; five bytes fit a number of 64 bits with room


class Counts(NamedTuple):
    """How often each context, and each context with its next byte, stands in a text."""

    contexts: np.ndarray  # (C,) uint64, sorted
    totals: np.ndarray  # (C,) how often each context has a next byte
    kinds: np.ndarray  # (C,) how many different bytes follow it
    grams: np.ndarray  # (G,) uint64, sorted: context * 256 + next byte
    counts: np.ndarray  # (G,)


def score_count_models(train: np.ndarray, windows: np.ndarray) -> dict[int, float]:
    """Bits per byte of each order in ORDERS on windows (W, L), fitted on train (T,), both uint8.

    A window sees nothing before its first byte, as a model does not: the byte i of a window is
    scored with at most i bytes of context.
    """
    n_windows, length = windows.shape
    probability = np.full((n_windows, length), 1 / 256)
    bits = {}
    for order in ORDERS:
        if order < length:
            counts = count(train, order)
            contexts = _contexts(windows, order)
            following = windows[:, order:].astype(np.uint64)
            lower = probability[:, order:]
            probability[:, order:] = _mix(counts, contexts, following, lower)
        bits[order] = float(-np.log(probability).mean() / math.log(2))
    return bits


def count(text: np.ndarray, order: int) -> Counts:
    """The counts of a text (T,) uint8 for contexts of `order` bytes."""
    grams, counts = np.unique(_contexts(text[None], order + 1, complete=True), return_counts=True)
    contexts, first, kinds = np.unique(grams >> np.uint64(8), return_index=True, return_counts=True)
    totals = np.add.reduceat(counts, first) if len(first) else counts
    return Counts(contexts, totals, kinds, grams, counts)


def _contexts(rows: np.ndarray, order: int, complete: bool = False) -> np.ndarray:
    """The `order` bytes before each byte, as one number: (W, L) -> (W, L - order).

    With `complete` also those after the last byte, (W, L - order + 1): every run of `order` bytes.
    """
    n_rows, length = rows.shape
    n_columns = max(0, length - order + complete)
    numbers = np.zeros((n_rows, n_columns), dtype=np.uint64)
    for i in range(order):
        numbers <<= np.uint64(8)
        numbers |= rows[:, i : i + n_columns].astype(np.uint64)
    return numbers


def _mix(
    counts: Counts, contexts: np.ndarray, following: np.ndarray, lower: np.ndarray
) -> np.ndarray:
    """p_n from p_{n-1}, both of the shape of `contexts`."""
    totals = _look_up(counts.contexts, counts.totals, contexts)
    kinds = _look_up(counts.contexts, counts.kinds, contexts)
    here = _look_up(counts.grams, counts.counts, contexts << np.uint64(8) | following)
    seen = totals > 0
    mixed = (here + kinds * lower) / np.where(seen, totals + kinds, 1)
    return np.where(seen, mixed, lower)


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The value of each wanted key; 0 where it is not among the sorted keys."""
    if not len(keys):
        return np.zeros(wanted.shape, dtype=np.int64)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
