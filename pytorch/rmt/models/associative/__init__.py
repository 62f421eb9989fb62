"""Layers with an associative memory, and the model that is made of them (armt).

    memory.py      the memory of one layer: its state, how it is read and written
    state.py       the state of all layers
    armt.py        the model: Transformer-XL's layers, each with a memory
    decoder.py     its predictions token by token
    diagonal.py    its segments in diagonal order
    grouped.py     the memories of several layers at once, for that
    options.py     its options
    operations.py  its counted operations
    registered.py  its entry in the registry

Axes, as suffixes of tensor names: B batch (parallel streams), N rows, m memory tokens, D d_model,
F features of a key: 2 * dpfp_nu * d_mem.

Sources: Rodkin, Kuratov, Bulatov and Burtsev 2024, "Associative Recurrent Memory Transformer";
Schlag, Irie and Schmidhuber 2021, "Linear Transformers Are Secretly Fast Weight Programmers", for
the features (DPFP) and the delta rule.
"""
