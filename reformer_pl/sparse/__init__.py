"""Attentions that see some of the keys before a token: rivals of LSH at an equal number of keys.

Pure functions of q, k, v of shape (B, H, L, D), with logits q . k / sqrt(D) as `full` has them.
"""
