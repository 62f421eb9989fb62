"""Transformer-XL attention over a segment with read and write memory.

    formula.py  which row sees which key, relative distances, scores and weights: the definition
    plain.py    what a row reads, without kernels of its own; the next two equal it
    flex.py     the same by PyTorch's flex_attention, in compiled layers on a GPU
    fused.py    the same by Triton kernels of our own, which are in kernels.py
    choice.py   which of these a model takes (--attention)
    layer.py    the layer: its projections, its heads and the way to read
    kept.py     masks and sinusoids, made once, also for CUDA graphs

Axes, as suffixes of tensor names:
    B batch (parallel streams)   Q queries: the last Q of the K keys   H heads
    D d_model                    K keys: [cache, read memory, tokens, write memory]   d d_head
    R relative distances, from K-1 (the oldest key seen by the last query) down to -n_ahead

Sources: Dai et al. 2019, "Transformer-XL", section 3.3 (relative positions); Bulatov et al. 2022,
"Recurrent Memory Transformer", section 3.2 and Figure 6(d) (which memory row sees what).
"""
