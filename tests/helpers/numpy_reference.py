"""The models of the paper once more, in float64 NumPy, as slowly and plainly as possible.

The PyTorch package is compared with this file number by number. It therefore imports nothing
from `rmt`, and takes the weights under the published Transformer-XL names (y = x @ W.T + b).
Evaluation mode only: no dropout, no gradient. One batch element at a time, one attention score
at a time, written from the formula: no shift trick, no padding, no masked cells to undo.

Axes: B batch, T segment tokens, m memory tokens, C cache rows, S rows of the current segment
(memory and tokens), K = C + S columns, H heads, d d_head, D d_model, E d_embed, V vocabulary.
"""

import numpy as np

# model -> the blocks of a segment; "cache" is prepended to the keys of every layer.
LAYOUTS = {
    "baseline": ("token",),
    "mt": ("read", "token"),
    "trxl": ("token",),
    "rmt": ("read", "token", "write"),
    "trxl_rmt": ("read", "token", "write"),
}


def cache_size(config):
    """How many token rows per layer the model carries over, or None if it has no cache."""
    return {"trxl": config.mem_len, "trxl_rmt": config.cache_len}.get(config.model)


def row_kinds(config, n_tokens):
    """The kind ("read", "token" or "write") of each row of the current segment, a list of S."""
    length = {"read": config.mem_len, "token": n_tokens, "write": config.mem_len}
    return [kind for kind in LAYOUTS[config.model] for _ in range(length[kind])]


def visible(config, n_cache, n_tokens):
    """The attention mask: bool [S, C + S], True where the row attends to the column.

    Raises ValueError for same_length where the cache size is 0 (no token would see itself).
    """
    rows = row_kinds(config, n_tokens)
    columns = ["cache"] * n_cache + rows
    # Position in the stream, counted from the first token of this segment; memory has none.
    first_token = columns.index("token")
    place = [column - first_token for column in range(len(columns))]
    for column in range(n_cache):
        place[column] = column - n_cache

    if config.same_length and not cache_size(config):
        raise ValueError("same_length needs a model with a cache of at least one state")

    mask = np.zeros((len(rows), len(columns)), dtype=bool)
    for row, row_kind in enumerate(rows):
        for column, column_kind in enumerate(columns):
            back = place[n_cache + row] - place[column]  # only used between stream tokens
            near = not config.same_length or back < cache_size(config)
            is_before = column <= n_cache + row  # itself, too
            is_open = is_before or getattr(config, "memory_mask", "paper") == "paper"
            if row_kind == "token":
                seen = {
                    "cache": near,
                    "read": True,
                    "token": back >= 0 and near,
                    "write": False,
                }
            elif row_kind == "read":
                seen = {
                    "cache": config.read_mem_from_cache,
                    "read": is_open,
                    "token": False,
                    "write": False,
                }
            else:
                seen = {
                    "cache": config.read_mem_from_cache,
                    "read": True,
                    "token": True,
                    "write": is_open,
                }
            mask[row, column] = seen[column_kind]
    return mask


def linear(x, weights, name):
    """x [..., in] -> [..., out]; the bias is added where the layer has one."""
    y = x @ weights[name + ".weight"].T
    return y + weights[name + ".bias"] if name + ".bias" in weights else y


def layer_norm(x, weights, name, eps=1e-5):
    """Zero mean and unit (biased) variance over the last axis, then scale and shift."""
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    return centred / deviation * weights[name + ".weight"] + weights[name + ".bias"]


def log_softmax(x):
    """Log-probabilities (nats) over the last axis."""
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def sinusoid(distance, config):
    """R(distance) = [sin(distance f) || cos(distance f)], [D]; distance may be negative."""
    if config.clamp_len >= 0:
        distance = max(-config.clamp_len, min(config.clamp_len, distance))
    frequency = 10000.0 ** (-np.arange(0, config.d_model, 2) / config.d_model)
    return np.concatenate([np.sin(distance * frequency), np.cos(distance * frequency)])


def published(config, what):
    """Whether the config computes one of "memory", "cache", "positions" as the published code."""
    return getattr(config, "as_published", False) or getattr(config, f"published_{what}", False)


def position_cell(config, query_KHd, n_keys, i, j):
    """Of which query, and for which distance, the position score of row i and column j is.

    (i, i - j), but for the published code where j is after i: None (a score of 0) just after it,
    and further on the next query's score for a distance that falls from K-1 on.
    """
    if j <= i or not published(config, "positions"):
        return query_KHd[i], i - j
    if j == i + 1:
        return None
    return query_KHd[i + 1], n_keys - 1 - (j - i - 2)


def attention(weights, name, config, all_KD, n_cache, mask_SK):
    """Relative attention of one sequence (Dai et al. 2019), before o_net's residual.

    all_KD: [K, D], the cache rows and then the current rows. Returns [S, D].
    """
    n_head, d_head = config.n_head, config.d_head
    qkv = linear(all_KD, weights, name + ".qkv_net").reshape(len(all_KD), 3, n_head, d_head)
    query_KHd, key_KHd, value_KHd = qkv[:, 0], qkv[:, 1], qkv[:, 2]
    position_Hd = {}  # distance -> W_r R(distance), one vector per head
    for distance in range(-len(all_KD), len(all_KD) + 1):
        r = linear(sinusoid(distance, config), weights, name + ".r_net")
        position_Hd[distance] = r.reshape(n_head, d_head)

    rows = []
    for row, mask_K in enumerate(mask_SK):
        i = n_cache + row
        columns = np.flatnonzero(mask_K)
        heads = []
        for h in range(n_head):
            u = weights.get(name + ".r_w_bias", weights.get("r_w_bias"))[h]
            v = weights.get(name + ".r_r_bias", weights.get("r_r_bias"))[h]
            q = query_KHd[i, h]
            scores = []
            for j in columns:
                content = (q + u) @ key_KHd[j, h]
                cell = position_cell(config, query_KHd, len(all_KD), i, int(j))
                position = 0.0
                if cell is not None:
                    position = (cell[0][h] + v) @ position_Hd[cell[1]][h]
                scores.append((content + position) / np.sqrt(d_head))
            probabilities = np.exp(log_softmax(np.array(scores)))
            heads.append(probabilities @ value_KHd[columns, h])
        rows.append(np.concatenate(heads))
    return linear(np.array(rows), weights, name + ".o_net")


def feed_forward(x, weights, name):
    """Linear, ReLU, Linear: x [S, D] -> [S, D]."""
    hidden = np.maximum(linear(x, weights, name + ".CoreNet.0"), 0.0)
    return linear(hidden, weights, name + ".CoreNet.3")


def layer(weights, index, config, x_SD, cache_CD, mask_SK):
    """One Transformer layer on one sequence: x [S, D] and its cache [C, D] -> [S, D]."""
    att, ff = f"layers.{index}.dec_attn", f"layers.{index}.pos_ff"
    all_KD = np.concatenate([cache_CD, x_SD])
    if config.pre_lnorm:
        normed_KD = layer_norm(all_KD, weights, att + ".layer_norm")
        h_SD = x_SD + attention(weights, att, config, normed_KD, len(cache_CD), mask_SK)
        return h_SD + feed_forward(layer_norm(h_SD, weights, ff + ".layer_norm"), weights, ff)
    h_SD = x_SD + attention(weights, att, config, all_KD, len(cache_CD), mask_SK)
    h_SD = layer_norm(h_SD, weights, att + ".layer_norm")
    return layer_norm(h_SD + feed_forward(h_SD, weights, ff), weights, ff + ".layer_norm")


def embed(weights, config, tokens_T):
    """Token ids [T] -> [T, D], scaled by sqrt(D)."""
    rows = []
    for token in tokens_T:
        cluster = 0
        if "word_emb.emb_layers.1.weight" in weights:  # each cluster has embeddings of its own size
            cluster = sum(token >= cutoff for cutoff in config.cutoffs)
            token = token - (0, *config.cutoffs)[cluster]
        x_E = weights[f"word_emb.emb_layers.{cluster}.weight"][token]
        if f"word_emb.emb_projs.{cluster}" in weights:
            x_E = weights[f"word_emb.emb_projs.{cluster}"] @ x_E
        rows.append(x_E * np.sqrt(config.d_model))
    return np.array(rows)


def token_log_probs(weights, config, hidden_TD):
    """Log-probabilities [T, V] (nats) of the softmax, or of the adaptive softmax, all words."""
    edges = [0, *config.cutoffs, config.n_token]
    shrinks = "crit.out_layers.1.weight" in weights

    def words(cluster):
        """The weights [W, E] and biases [W] of a cluster's words, and hidden states for them."""
        part = "weight", "bias"
        if shrinks:
            weight, bias = (weights[f"crit.out_layers.{cluster}.{name}"] for name in part)
        else:
            own = slice(edges[cluster], edges[cluster + 1])
            weight, bias = (weights[f"crit.out_layers.0.{name}"][own] for name in part)
        projection = "crit.out_projs.0"
        if cluster:  # the tails' are the embedding's
            projection = f"word_emb.emb_projs.{cluster if shrinks else 0}"
        return weight, bias, hidden_TD @ weights[projection] if projection in weights else hidden_TD

    weight, bias, head_TE = words(0)
    if not config.cutoffs:
        return log_softmax(head_TE @ weight.T + bias)

    head_weight = np.concatenate([weight, weights["crit.cluster_weight"]])
    head_bias = np.concatenate([bias, weights["crit.cluster_bias"]])
    head = log_softmax(head_TE @ head_weight.T + head_bias)
    parts = [head[:, : len(weight)]]
    for cluster in range(1, len(config.cutoffs) + 1):
        weight, bias, tail_TE = words(cluster)
        within = log_softmax(tail_TE @ weight.T + bias)
        parts.append(head[:, [-cluster]] + within)  # the LAST head column is cluster 1
    return np.concatenate(parts, axis=1)


def reference_segment(weights, config, tokens, targets, state):
    """Run one segment; returns (nll [B, T] nats, log_probs [B, T, V], next_state).

    weights: published name -> float64 array. tokens, targets: int [B, T].
    state: None at the start of a stream, else {"memory": [B, m, D] or None,
    "cache": one [B, C, D] per layer or None}; next_state has the same form.
    """
    n_batch, n_tokens = tokens.shape
    limit = cache_size(config)
    passed_on = "write"  # the rows whose outputs are the next segment's memory
    if config.model == "mt" and published(config, "memory"):
        passed_on = "read"
    has_memory_state = passed_on in LAYOUTS[config.model]
    log_probs, memories, caches = [], [], [[] for _ in range(config.n_layer)]

    for b in range(n_batch):
        memory_mD = np.zeros((0, config.d_model))
        if "read" in LAYOUTS[config.model]:
            memory_mD = weights["mem_tokens"][:, 0]
        if has_memory_state and state is not None and state["memory"] is not None:
            memory_mD = state["memory"][b]

        blocks = {"read": memory_mD, "token": embed(weights, config, tokens[b])}
        blocks["write"] = memory_mD
        if getattr(config, "write_from", "memory") == "learned":
            blocks["write"] = weights["mem_tokens"][:, 0]
        x_SD = np.concatenate([blocks[kind] for kind in LAYOUTS[config.model]])
        kinds = np.array(row_kinds(config, n_tokens))

        for index in range(config.n_layer):
            cache_CD = np.zeros((0, config.d_model))
            if limit is not None and state is not None and state["cache"] is not None:
                cache_CD = state["cache"][index][b]
            if limit is not None:
                cached = kinds == "token"
                if config.model == "trxl_rmt" and published(config, "cache"):
                    cached = np.full(len(kinds), True)
                stream = np.concatenate([cache_CD, x_SD[cached]])
                caches[index].append(stream[max(0, len(stream) - limit) :])
            mask_SK = visible(config, len(cache_CD), n_tokens)
            x_SD = layer(weights, index, config, x_SD, cache_CD, mask_SK)

        memories.append(x_SD[kinds == passed_on])
        log_probs.append(token_log_probs(weights, config, x_SD[kinds == "token"]))

    log_probs = np.array(log_probs)
    nll = np.array(
        [[-log_probs[b, t, targets[b, t]] for t in range(n_tokens)] for b in range(n_batch)]
    )
    next_state = {
        "memory": np.array(memories) if has_memory_state else None,
        "cache": None if limit is None else [np.array(rows) for rows in caches],
    }
    return nll, log_probs, next_state
