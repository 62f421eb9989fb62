"""Associative memory once more, in float64 NumPy, one stream and one row at a time.

Written from the equations; imports nothing from rmt. Weights are the layer's own, by name: query,
key, value, strength_weight, strength_bias. A state is {"A": [F, D], "z": [F]}.
"""

import numpy as np

EPS = 1e-5


def phi(x_r, nu):
    """DPFP-nu (Schlag et al. 2021): products y[i] * y[i - shift], for one shift after the other."""
    y = [max(number, 0.0) for number in x_r] + [max(-number, 0.0) for number in x_r]
    places = [(i, (i - shift) % len(y)) for shift in range(1, nu + 1) for i in range(len(y))]
    return np.array([y[i] * y[j] for i, j in places])


def unit(x_F):
    length = np.sqrt((x_F**2).sum())
    return x_F / length if length else x_F


def read(weights, nu, delta, x_D, state):
    """What the memory knows of one row: [D]."""
    query = phi(weights["query"] @ x_D, nu)
    if delta:
        return state["A"].T @ unit(query)
    return state["A"].T @ query / (state["z"] @ query + EPS)


def write(weights, nu, delta, correction, rows_mD, state):
    """The state after all memory rows of a segment."""
    A, z = state["A"].copy(), state["z"].copy()
    for x_D in rows_mD:
        key, value = phi(weights["key"] @ x_D, nu), weights["value"] @ x_D
        strength = weights["strength_weight"] @ x_D + weights["strength_bias"]
        beta = 1 / (1 + np.exp(-strength.item()))
        if delta:  # one row after the other
            key = unit(key)
            A += beta * np.outer(key, value - A.T @ key)
            continue
        # All rows against the state from before.
        old, gamma = np.zeros_like(value), 1.0
        if state["z"].any():  # something was written before
            seen = state["z"] @ key + EPS
            old = state["A"].T @ key / seen
            if correction:
                gamma = min(1.0, max(0.0, 1 - seen / (key @ key + EPS)))
        A += beta * np.outer(key, value - old)
        z += gamma * key
    return {"A": A, "z": z}
