"""Answers to lesson 07: wrong ones, with what a check must say of each, and right ones."""

from itertools import combinations

import torch
import torch.nn.functional as F

# ---- 7.1 -----------------------------------------------------------------------------------------


def difference_reversed(logits, right, wrong):
    """wrong 7.1: the other way round"""
    rows = torch.arange(len(logits))
    return logits[rows, -1, wrong] - logits[rows, -1, right]


def difference_of_all_names(logits, right, wrong):
    """wrong 7.1: for the names of all"""
    return logits[:, -1, right] - logits[:, -1, wrong]


def difference_of_the_first_names(logits, right, wrong):
    """wrong 7.1: for those of the first"""
    return logits[:, -1, right[0]] - logits[:, -1, wrong[0]]


def difference_averaged(logits, right, wrong):
    """wrong 7.1: yours is their mean"""
    return difference_by_gather(logits, right, wrong).mean()


def difference_everywhere(logits, right, wrong):
    """wrong 7.1: all of them, [b p]"""
    rows = torch.arange(len(logits))
    return logits[rows, :, right] - logits[rows, :, wrong]


def difference_over_positions(logits, right, wrong):
    """wrong 7.1: a mean over positions"""
    return difference_everywhere(logits, right, wrong).mean(1)


def difference_before_the_end(logits, right, wrong):
    """wrong 7.1: one before it"""
    return difference_everywhere(logits, right, wrong)[:, -2]


def difference_at_the_start(logits, right, wrong):
    """wrong 7.1: at the first"""
    return difference_everywhere(logits, right, wrong)[:, 0]


def difference_of_probabilities(logits, right, wrong):
    """wrong 7.1: one of probabilities"""
    return difference_by_gather(logits.softmax(-1), right, wrong)


def difference_without_sign(logits, right, wrong):
    """wrong 7.1: always positive"""
    return difference_by_gather(logits, right, wrong).abs()


def difference_to_nobody(logits, right, wrong):
    """wrong 7.1: the right name's alone"""
    return logits[torch.arange(len(right)), -1, right]


def difference_to_the_mean(logits, right, wrong):
    """wrong 7.1: the mean of all words"""
    return logits[torch.arange(len(right)), -1, right] - logits[:, -1].mean(-1)


def difference_squeezed(logits, right, wrong):
    """wrong 7.1: shape should be [1], not []"""
    return difference_by_gather(logits, right, wrong).squeeze()


def difference_as_a_list(logits, right, wrong):
    """wrong 7.1: should be a tensor, not a list"""
    return [float(prompt[-1, r] - prompt[-1, w]) for prompt, r, w in zip(logits, right, wrong)]


def difference_by_gather(logits, right, wrong):
    """right 7.1"""
    pair = torch.stack([right, wrong], 1)
    last = logits[:, -1].gather(1, pair)  # [b 2]
    return last[:, 0] - last[:, 1]


def difference_of_log_probabilities(logits, right, wrong):
    """right 7.1"""
    said = logits[:, -1].log_softmax(-1)
    return torch.stack([row[r] - row[w] for row, r, w in zip(said, right, wrong)])


def difference_by_diagonal(logits, right, wrong):
    """right 7.1"""
    return difference_of_all_names(logits, right, wrong).diagonal()


# ---- 7.2 -----------------------------------------------------------------------------------------


def z_of(layer):
    return f"blocks.{layer}.attn.hook_z"


def both(model, tokens, other):
    return [model.run_with_cache(each)[1] for each in (tokens, other)]


def held(cache, sites="*.hook_z"):
    return sites, lambda activation, hook: cache[hook.name].clone()


def put(cache, layer, head):
    def hook(z, hook):
        z[:, :, head] = cache[hook.name][:, :, head]
        return z

    return z_of(layer), hook


def path_of_all_effects(model, tokens, other, layer, head):
    """wrong 7.2: holds none, so later heads pass the change on"""
    return model.run_with_hooks(tokens, fwd_hooks=[put(both(model, tokens, other)[1], layer, head)])


def path_held_at_the_donor(model, tokens, other, layer, head):
    """wrong 7.2: holds them at what they said on `other`"""
    told = model.run_with_cache(other)[1]
    return model.run_with_hooks(tokens, fwd_hooks=[held(told), put(told, layer, head)])


def path_reversed(model, tokens, other, layer, head):
    """wrong 7.2: has the two swapped"""
    return path_by_layers_above(model, other, tokens, layer, head)


def path_on_the_donor(model, tokens, other, layer, head):
    """wrong 7.2: yours runs on `other`, and holds the heads"""
    clean, told = both(model, tokens, other)
    return model.run_with_hooks(other, fwd_hooks=[held(clean), put(told, layer, head)])


def path_with_mlps_held(model, tokens, other, layer, head):
    """wrong 7.2: MLPs are not held, they react to what they now read: yours holds them"""
    clean, told = both(model, tokens, other)
    hooks = [held(clean), held(clean, "*.hook_mlp_out"), put(told, layer, head)]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


def path_with_norms_held(model, tokens, other, layer, head):
    """wrong 7.2: layer norms are not held: yours holds their scales"""
    clean, told = both(model, tokens, other)
    hooks = [held(clean), held(clean, "*.hook_scale"), put(told, layer, head)]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


def path_with_the_last_norm_held(model, tokens, other, layer, head):
    """wrong 7.2: yours holds the last one's scale"""
    clean, told = both(model, tokens, other)
    hooks = [held(clean), held(clean, "ln_final.hook_scale"), put(told, layer, head)]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


def path_by_direct_attribution(model, tokens, other, layer, head):
    """wrong 7.2: MLPs are not held"""
    clean, told = both(model, tokens, other)
    change = (told["z", layer] - clean["z", layer])[:, :, head] @ model.blocks[layer].attn.W_O[head]
    return model.ln_final(clean["resid_post", model.cfg.n_layers - 1] + change) @ model.W_U


def path_with_patterns_held(model, tokens, other, layer, head):
    """wrong 7.2: what they look at, not what they say"""
    clean, told = both(model, tokens, other)
    hooks = [held(clean, "*.hook_pattern"), put(told, layer, head)]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


def path_past_the_next_layer(model, tokens, other, layer, head):
    """wrong 7.2: leaves those of the next layer free"""
    clean, told = both(model, tokens, other)
    later = [held(clean, z_of(n)) for n in range(layer + 2, model.cfg.n_layers)]
    return model.run_with_hooks(tokens, fwd_hooks=[*later, put(told, layer, head)])


def path_of_the_next_layer(model, tokens, other, layer, head):
    """wrong 7.2: holds those of the next layer alone"""
    clean, told = both(model, tokens, other)
    later = [held(clean, z_of(n)) for n in range(layer + 1, model.cfg.n_layers)[:1]]
    return model.run_with_hooks(tokens, fwd_hooks=[*later, put(told, layer, head)])


def path_at_the_end(model, tokens, other, layer, head):
    """wrong 7.2: at the last one only"""
    clean, told = both(model, tokens, other)

    def hook(z, hook):
        z[:, -1, head] = told["z", layer][:, -1, head]
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[held(clean), (z_of(layer), hook)])


def path_of_the_layer(model, tokens, other, layer, head):
    """wrong 7.2: all heads of its layer"""
    clean, told = both(model, tokens, other)
    return model.run_with_hooks(tokens, fwd_hooks=[held(clean), held(told, z_of(layer))])


def path_of_every_layer(model, tokens, other, layer, head):
    """wrong 7.2: changes it in every layer"""
    clean, told = both(model, tokens, other)
    hooks = [put(told, n, head) for n in range(model.cfg.n_layers)]
    return model.run_with_hooks(tokens, fwd_hooks=[held(clean), *hooks])


def path_of_a_position(model, tokens, other, layer, head):
    """wrong 7.2: heads are axis 2"""
    clean, told = both(model, tokens, other)

    def hook(z, hook):
        z[:, head] = told[hook.name][:, head]
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[held(clean), (z_of(layer), hook)])


def path_held_too_late(model, tokens, other, layer, head):
    """wrong 7.2: yours changes nothing"""
    clean, told = both(model, tokens, other)
    return model.run_with_hooks(tokens, fwd_hooks=[put(told, layer, head), held(clean)])


def path_silenced(model, tokens, other, layer, head):
    """wrong 7.2: silences the head"""

    def hook(z, hook):
        z[:, :, head] = 0

    clean = model.run_with_cache(tokens)[1]
    return model.run_with_hooks(tokens, fwd_hooks=[held(clean), (z_of(layer), hook)])


def path_as_a_difference(model, tokens, other, layer, head):
    """wrong 7.2: yours are what changed"""
    return path_by_layers_above(model, tokens, other, layer, head) - model(tokens)


def path_to_the_last_position(model, tokens, other, layer, head):
    """wrong 7.2: yours are the last one's"""
    return path_by_layers_above(model, tokens, other, layer, head)[:, -1]


def path_with_cache(model, tokens, other, layer, head):
    """wrong 7.2: should be a tensor, not a tuple"""
    clean, told = both(model, tokens, other)
    return model.run_with_cache(tokens, fwd_hooks=[held(clean), put(told, layer, head)])


def path_by_weights(model, tokens, other, layer, head):
    """wrong 7.2: changed a weight"""
    model.blocks[layer].attn.W_O[head] = 0
    return path_by_layers_above(model, tokens, other, layer, head)


def path_by_layers_above(model, tokens, other, layer, head):
    """right 7.2"""
    clean, told = both(model, tokens, other)
    above = [held(clean, z_of(n)) for n in range(layer + 1, model.cfg.n_layers)]
    return model.run_with_hooks(tokens, fwd_hooks=[*above, put(told, layer, head)])


def path_by_what_heads_add(model, tokens, other, layer, head):
    """right 7.2"""
    clean, told = both(model, tokens, other)
    change = (told["z", layer] - clean["z", layer])[:, :, head] @ model.blocks[layer].attn.W_O[head]

    def hook(attn_out, hook):
        return clean[hook.name] + change * (hook.layer() == layer)

    return model.run_with_hooks(tokens, fwd_hooks=[("*.hook_attn_out", hook)])


def path_by_hand(model, tokens, other, layer, head):
    """right 7.2"""
    clean, told = both(model, tokens, other)
    resid = model.embed(tokens)
    for n, block in enumerate(model.blocks):
        z = clean["z", n].clone()
        z[:, :, head] = (told if n == layer else clean)["z", n][:, :, head]
        resid = resid + torch.einsum("bphe,hed->bpd", z, block.attn.W_O) + block.attn.b_O
        resid = resid + block.mlp(block.ln2(resid))
    return model.unembed(model.ln_final(resid))


# ---- 7.3 -----------------------------------------------------------------------------------------


def share(logits, names, k):
    return (logits.topk(k).indices == names[:, None]).any(-1).float().mean().item()


def written(model, read, layer, head):
    attn = model.blocks[layer].attn
    return (read @ attn.W_V[head] + attn.b_V[head]) @ attn.W_O[head]


def copies_of_the_bare_stream(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: reads it bare"""
    out = sign * written(model, stream, layer, head)
    return share(model.ln_final(out) @ model.W_U, names, k)


def copies_through_the_mlps_norm(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: through ln2"""
    out = sign * written(model, model.blocks[layer].ln2(stream), layer, head)
    return share(model.ln_final(out) @ model.W_U, names, k)


def copies_without_b_V(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: b_V is missing"""
    attn = model.blocks[layer].attn
    out = sign * model.blocks[layer].ln1(stream) @ attn.W_V[head] @ attn.W_O[head]
    return share(model.ln_final(out) @ model.W_U, names, k)


def copies_with_b_O(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: b_O belongs to no head"""
    block = model.blocks[layer]
    out = sign * (written(model, block.ln1(stream), layer, head) + block.attn.b_O)
    return share(model.ln_final(out) @ model.W_U, names, k)


def copies_without_the_last_norm(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: ln_final is missing"""
    out = sign * written(model, model.blocks[layer].ln1(stream), layer, head)
    return share(out @ model.W_U, names, k)


def copies_with_a_bare_norm(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: own w and b are missing"""
    out = sign * written(model, model.blocks[layer].ln1(stream), layer, head)
    return share(F.layer_norm(out, out.shape[-1:]) @ model.W_U, names, k)


def copies_beside_the_stream(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: is judged alone"""
    out = stream + sign * written(model, model.blocks[layer].ln1(stream), layer, head)
    return share(model.ln_final(out) @ model.W_U, names, k)


def copies_with_a_late_sign(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: comes after it"""
    out = written(model, model.blocks[layer].ln1(stream), layer, head)
    return share(sign * (model.ln_final(out) @ model.W_U), names, k)


def copies_of_the_lowest(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: comes after it"""
    out = written(model, model.blocks[layer].ln1(stream), layer, head)
    best = (model.ln_final(out) @ model.W_U).topk(k, largest=sign > 0).indices
    return (best == names[:, None]).any(-1).float().mean().item()


def copies_with_an_early_sign(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: is on the stream"""
    out = written(model, model.blocks[layer].ln1(sign * stream), layer, head)
    return share(model.ln_final(out) @ model.W_U, names, k)


def copies_without_sign(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: the sign is forgotten"""
    return copies_by_values(model, stream, names, layer, head, k)


def copies_by_the_embedding(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: yours uses the embedding"""
    out = sign * written(model, model.blocks[layer].ln1(stream), layer, head)
    return share(model.ln_final(out) @ model.W_E.T, names, k)


def copies_of_head_0(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: yours asks head 0"""
    return copies_by_values(model, stream, names, layer, 0, k, sign)


def copies_of_five(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: always takes the first 5"""
    return copies_by_values(model, stream, names, layer, head, 5, sign)


def copies_of_the_first(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: takes the first one only"""
    out = sign * written(model, model.blocks[layer].ln1(stream), layer, head)
    return ((model.ln_final(out) @ model.W_U).argmax(-1) == names).float().mean().item()


def copies_of_one_less(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: one too many"""
    return copies_by_values(model, stream, names, layer, head, k + 1, sign)


def copies_found_anywhere(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: among the best of any row"""
    out = sign * written(model, model.blocks[layer].ln1(stream), layer, head)
    best = (model.ln_final(out) @ model.W_U).topk(k).indices
    return sum(name in best for name in names) / len(names)


def copies_among_names(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: among themselves"""
    out = sign * written(model, model.blocks[layer].ln1(stream), layer, head)
    own = torch.arange(len(names))
    return share((model.ln_final(out) @ model.W_U)[:, names], own, min(k, len(names)))


def copies_over_k(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: divides by k as well"""
    return copies_by_values(model, stream, names, layer, head, k, sign) / k


def copies_counted(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: yours counts them"""
    return copies_by_values(model, stream, names, layer, head, k, sign) * len(names)


def copies_in_per_cent(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: in per cent"""
    return 100 * copies_by_values(model, stream, names, layer, head, k, sign)


def copies_name_by_name(model, stream, names, layer, head, k=5, sign=1):
    """wrong 7.3: answers for each name"""
    out = sign * written(model, model.blocks[layer].ln1(stream), layer, head)
    best = (model.ln_final(out) @ model.W_U).topk(k).indices
    return (best == names[:, None]).any(-1).float()


def copies_by_values(model, stream, names, layer, head, k=5, sign=1):
    """right 7.3"""
    block = model.blocks[layer]
    v = torch.einsum("nd,hde->nhe", block.ln1(stream), block.attn.W_V)[:, head]
    out = (sign * v + sign * block.attn.b_V[head]) @ block.attn.W_O[head]
    logits = model.unembed(model.ln_final(out))
    place = (logits > logits.gather(1, names[:, None])).sum(1)  # how many words are ahead
    return (place < k).float().mean()


def copies_one_by_one(model, stream, names, layer, head, k=5, sign=1):
    """right 7.3"""
    hits = 0
    for row, name in zip(stream, names.tolist()):
        out = sign * written(model, model.blocks[layer].ln1(row), layer, head)
        hits += name in (model.ln_final(out) @ model.W_U).argsort(descending=True)[:k].tolist()
    return hits / len(names)


# ---- 7.4 -----------------------------------------------------------------------------------------


def means_of_all(z, template):
    """wrong 7.4: that of all prompts"""
    return z.mean(0, keepdim=True).expand_as(z)


def means_of_means(z, template):
    """wrong 7.4: the mean of the templates' means"""
    each = [z[template == one].mean(0) for one in template.unique()]
    return torch.stack(each).mean(0).expand_as(z)


def means_over_positions(z, template):
    """wrong 7.4: yours goes over positions too"""
    return means_by_matrix(z, template).mean(1, keepdim=True).expand_as(z)


def means_over_heads(z, template):
    """wrong 7.4: yours goes over heads too"""
    return means_by_matrix(z, template).mean(2, keepdim=True).expand_as(z)


def means_of_one_number(z, template):
    """wrong 7.4: all but the template"""
    new = z.clone()
    for one in template.unique():
        new[template == one] = z[template == one].mean()
    return new


def means_of_others(z, template):
    """wrong 7.4: yours leaves it out"""
    new = torch.zeros_like(z)
    for i in range(len(z)):
        others = (template == template[i]) & (torch.arange(len(z)) != i)
        new[i] = z[others].mean(0)
    return new


def means_of_other_templates(z, template):
    """wrong 7.4: that of the other templates"""
    return torch.stack([z[template != one].mean(0) for one in template])


def means_that_are_sums(z, template):
    """wrong 7.4: yours is a sum"""
    return torch.stack([z[template == one].sum(0) for one in template])


def means_over_all_counts(z, template):
    """wrong 7.4: divided by the number of all prompts"""
    return means_that_are_sums(z, template) / len(z)


def means_that_are_medians(z, template):
    """wrong 7.4: a median"""
    return torch.stack([z[template == one].median(0).values for one in template])


def means_of_each_template(z, template):
    """wrong 7.4: one for each template"""
    return torch.stack([z[template == one].mean(0) for one in template.unique()])


def means_in_order(z, template):
    """wrong 7.4: puts the prompts of a template together"""
    groups = [z[template == one] for one in template.unique()]
    return torch.cat([group.mean(0).expand_as(group) for group in groups])


def means_in_place(z, template):
    """wrong 7.4: in place"""
    for one in template.unique():
        z[template == one] = z[template == one].mean(0)
    return z


def means_of_the_first_prompt(z, template):
    """wrong 7.4: its first prompt"""
    return torch.stack([z[template == one][0] for one in template])


def means_taken_off(z, template):
    """wrong 7.4: what they leave of z"""
    return z - means_by_matrix(z, template)


def means_by_number_of_template(z, template):
    """wrong 7.4: out of bounds"""
    each = torch.stack([z[template == one].mean(0) for one in template.unique()])
    return each[template]


def means_by_matrix(z, template):
    """right 7.4"""
    same = (template[:, None] == template).to(z.dtype)  # [b b]
    return torch.einsum("bc,cphe->bphe", same / same.sum(1, keepdim=True), z)


def means_by_index_add(z, template):
    """right 7.4"""
    _, place, count = template.unique(return_inverse=True, return_counts=True)
    total = torch.zeros(len(count), *z.shape[1:]).index_add(0, place, z)
    return (total / count.view(-1, 1, 1, 1))[place]


# ---- 7.5 -----------------------------------------------------------------------------------------


def alone(model, tokens, keeps, donor, hooks=()):
    def hook(z, hook):
        for head in range(z.shape[2]):
            if not keeps(hook.layer(), head):
                z[:, :, head] = donor[hook.layer()][:, :, head]
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[*hooks, ("*.hook_z", hook)])


def knocks_out_the_circuit(model, tokens, circuit, donor):
    """wrong 7.5: yours knocks out the circuit"""
    return alone(model, tokens, lambda *at: at not in circuit, donor)


def knocks_out_by_turned_pairs(model, tokens, circuit, donor):
    """wrong 7.5: looks for (head, layer)"""
    return alone(model, tokens, lambda layer, head: (head, layer) in circuit, donor)


def knocks_out_by_number(model, tokens, circuit, donor):
    """wrong 7.5: keeps this number of head in every layer"""
    heads = [head for _, head in circuit]
    return alone(model, tokens, lambda _, head: head in heads, donor)


def knocks_out_of_three(model, tokens, circuit, donor):
    """wrong 7.5: yours goes through three"""
    return alone(model, tokens, lambda *at: at in circuit or at[1] > 2, donor)


def knocks_out_layers(model, tokens, circuit, donor):
    """wrong 7.5: yours keeps whole layers"""
    layers = [layer for layer, _ in circuit]
    return alone(model, tokens, lambda layer, _: layer in layers, donor)


def knocks_out_where_the_circuit_is(model, tokens, circuit, donor):
    """wrong 7.5: without a head of the circuit as they are"""

    def hook(z, hook):
        kept = [head for layer, head in circuit if layer == hook.layer()]
        new = donor[hook.layer()].clone()
        new[:, :, kept] = z[:, :, kept]
        return new

    sites = [z_of(layer) for layer in {layer for layer, _ in circuit}]
    return model.run_with_hooks(tokens, fwd_hooks=[(site, hook) for site in sites])


def knocks_out_the_end(model, tokens, circuit, donor):
    """wrong 7.5: yours is at the last one only"""

    def hook(z, hook):
        for head in range(z.shape[2]):
            if (hook.layer(), head) not in circuit:
                z[:, -1, head] = donor[hook.layer()][:, -1, head]
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[("*.hook_z", hook)])


def knocks_out_around_what_was(model, tokens, circuit, donor):
    """wrong 7.5: holds it at what it says in a plain run"""
    cache = model.run_with_cache(tokens)[1]
    return alone(model, tokens, lambda *at: at in circuit, donor, [held(cache)])


def knocks_out_beside_held_mlps(model, tokens, circuit, donor):
    """wrong 7.5: MLPs stay"""
    cache = model.run_with_cache(tokens)[1]
    return alone(model, tokens, lambda *at: at in circuit, donor, [held(cache, "*.hook_mlp_out")])


def knocks_out_by_silence(model, tokens, circuit, donor):
    """wrong 7.5: says nothing (0)"""
    none = {layer: torch.zeros_like(z) for layer, z in donor.items()}
    return alone(model, tokens, lambda *at: at in circuit, none)


def knocks_out_with_means(model, tokens, circuit, donor):
    """wrong 7.5: mean over prompts"""
    mean = {layer: z.mean(0, keepdim=True).expand_as(z) for layer, z in donor.items()}
    return alone(model, tokens, lambda *at: at in circuit, mean)


def knocks_out_with_layer_0(model, tokens, circuit, donor):
    """wrong 7.5: donor[0] in every layer"""
    return alone(model, tokens, lambda *at: at in circuit, {layer: donor[0] for layer in donor})


def knocks_out_in_a_loop(model, tokens, circuit, donor):
    """wrong 7.5: sees the loop's last layer"""
    hooks = []
    for layer in range(model.cfg.n_layers):

        def hook(z, hook):
            for head in range(z.shape[2]):
                if (layer, head) not in circuit:  # noqa: B023
                    z[:, :, head] = donor[layer][:, :, head]  # noqa: B023
            return z

        hooks.append((z_of(layer), hook))
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


def knocks_out_on_top(model, tokens, circuit, donor):
    """wrong 7.5: adds that to its own"""

    def hook(z, hook):
        for head in range(z.shape[2]):
            if (hook.layer(), head) not in circuit:
                z[:, :, head] += donor[hook.layer()][:, :, head]
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[("*.hook_z", hook)])


def knocks_out_into_the_donor(model, tokens, circuit, donor):
    """wrong 7.5: changed the donor"""

    def hook(z, hook):
        for layer, head in circuit:
            if layer == hook.layer():
                donor[layer][:, :, head] = z[:, :, head]
        return donor[hook.layer()].clone()

    return model.run_with_hooks(tokens, fwd_hooks=[("*.hook_z", hook)])


def knocks_out_and_uses_up(model, tokens, circuit, donor):
    """wrong 7.5: changed the circuit"""
    kept = {circuit.pop() for _ in range(len(circuit))}
    return knocks_out_by_where(model, tokens, kept, donor)


def knocks_out_layer_by_layer(model, tokens, circuit, donor):
    """right 7.5"""
    resid = model.embed(tokens)
    for layer, block in enumerate(model.blocks):
        x, z = block.ln1(resid), donor[layer].clone()
        for head in (head for at, head in circuit if at == layer):
            z[:, :, head] = one_head(x, block.attn, head)
        resid = resid + torch.einsum("bphe,hed->bpd", z, block.attn.W_O) + block.attn.b_O
        resid = resid + block.mlp(block.ln2(resid))
    return model.ln_final(resid) @ model.W_U


def one_head(x, attn, head):
    q, k, v = ((x @ attn.W_QKV[:, i, head] + attn.b_QKV[i, head])[:, None] for i in range(3))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, 0]


def knocks_out_by_where(model, tokens, circuit, donor):
    """right 7.5"""
    n_heads = model.cfg.n_heads

    def made(layer):
        kept = torch.tensor([(layer, head) in circuit for head in range(n_heads)])[:, None]  # [h 1]
        return lambda z, hook: torch.where(kept, z, donor[layer])

    hooks = [(z_of(layer), made(layer)) for layer in range(model.cfg.n_layers)]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


# ---- 7.6 -----------------------------------------------------------------------------------------


def finds_all(score, heads, bar):
    """wrong 7.6: yours hands back all heads"""
    return set(heads)


def finds_the_needed(score, heads, bar):
    """wrong 7.6: a head that others stand in for"""
    whole = frozenset(heads)
    return {head for head in whole if score(whole - {head}) < bar}


def finds_the_best_alone(score, heads, bar):
    """wrong 7.6: only together with another"""
    circuit = frozenset()
    for head in sorted(heads, key=lambda head: -score(frozenset([head]))):
        if score(circuit) >= bar:
            break
        circuit |= {head}
    return set(circuit)


def finds_the_most_missed(score, heads, bar):
    """wrong 7.6: ranks the heads once"""
    whole, circuit = frozenset(heads), frozenset()
    for head in sorted(heads, key=lambda head: score(whole - {head})):
        if score(circuit) >= bar:
            break
        circuit |= {head}
    return set(circuit)


def finds_the_first_heads(score, heads, bar):
    """wrong 7.6: in the order in which they are listed"""
    circuit = frozenset()
    for head in heads:
        if score(circuit) < bar:
            circuit |= {head}
    return circuit


def finds_the_highest_score(score, heads, bar):
    """wrong 7.6: goes on to the highest score"""
    circuit = frozenset(heads)
    while circuit and (less := max((circuit - {head} for head in circuit), key=score)):
        if score(less) < score(circuit):
            break
        circuit = less
    return circuit


def finds_in_one_pass(score, heads, bar):
    """wrong 7.6: asks about each head once"""
    circuit = frozenset(heads)
    for head in heads:
        if score(circuit - {head}) >= bar:
            circuit -= {head}
    return set(circuit)


def finds_in_one_pass_backwards(score, heads, bar):
    """wrong 7.6: asks about each head once"""
    return finds_in_one_pass(score, heads[::-1], bar)


def finds_by_climbing(score, heads, bar):
    """wrong 7.6: stops too early"""
    circuit = frozenset()
    while score(circuit) < bar:
        more = max((circuit | {head} for head in heads if head not in circuit), key=score)
        if score(more) <= score(circuit):
            break
        circuit = more
    return circuit


def finds_by_adding(score, heads, bar):
    """wrong 7.6: yours only adds"""
    circuit = frozenset()
    while score(circuit) < bar:
        circuit = max((circuit | {head} for head in set(heads) - circuit), key=score)
    return set(circuit)


def finds_by_adding_in_order(score, heads, bar):
    """wrong 7.6: yours only adds"""
    circuit = set()
    while score(circuit) < bar:
        left = [head for head in heads if head not in circuit]
        circuit.add(max(left, key=lambda head: score(circuit | {head})))
    return circuit


def finds_in_two_passes(score, heads, bar):
    """wrong 7.6: goes through the heads twice"""
    return finds_in_one_pass(score, heads * 2, bar)


def finds_in_two_passes_backwards(score, heads, bar):
    """wrong 7.6: goes through the heads twice, from the last"""
    return finds_in_one_pass(score, heads[::-1] * 2, bar)


def finds_a_hair_below(score, heads, bar):
    """wrong 7.6: a hair below it"""
    return finds_in_passes(score, heads, 0.99 * bar)


def finds_above_the_bar(score, heads, bar):
    """wrong 7.6: a circuit that scores just that is good enough"""
    circuit = frozenset(heads)
    while circuit and (best := max((circuit - {head} for head in circuit), key=score)):
        if score(best) <= bar:
            break
        circuit = best
    return circuit


def finds_for_nine_tenths(score, heads, bar):
    """wrong 7.6: yours is always 0.9"""
    return finds_in_passes(score, heads, 0.9)


def finds_what_is_near_1(score, heads, bar):
    """wrong 7.6: far above 1"""
    return finds_in_passes(lambda circuit: 1 - abs(1 - score(circuit)), heads, bar)


def finds_what_to_leave_out(score, heads, bar):
    """wrong 7.6: hands back the heads that it leaves out"""
    return set(heads) - finds_in_passes(score, heads, bar)


def finds_at_any_price(score, heads, bar):
    """wrong 7.6: do not go through all sets"""
    return finds_the_smallest(score, heads, bar)


def finds_a_list(score, heads, bar):
    """wrong 7.6: not a list"""
    return list(finds_in_passes(score, heads, bar))


def finds_by_striking_out(score, heads, bar):
    """wrong 7.6: changed the list of heads"""
    while rest := [head for head in heads if score(set(heads) - {head}) >= bar]:
        heads.remove(max(rest, key=lambda head: score(set(heads) - {head})))
    return set(heads)


def finds_one_head(score, heads, bar):
    """wrong 7.6: score was asked about one head"""
    return {head for head in heads if score(head) >= bar}


def finds_numbers(score, heads, bar):
    """wrong 7.6: none of the heads"""
    whole = frozenset(range(len(heads)))
    return {n for n in whole if score(whole - {n}) < bar}


def finds_one_at_least(score, heads, bar):
    """wrong 7.6: every set of heads scores 1"""
    circuit = set(heads)
    while len(circuit) > 1:
        best = max(circuit, key=lambda head: score(circuit - {head}))
        if score(circuit - {best}) < bar:
            break
        circuit = circuit - {best}
    return circuit


def finds_nothing(score, heads, bar):
    """wrong 7.6: is not reached"""
    return set()


def finds_in_passes(score, heads, bar):
    """right 7.6"""
    circuit, before = frozenset(heads), None
    while circuit != before:
        before = circuit
        for head in heads:
            if head in circuit and score(circuit - {head}) >= bar:
                circuit -= {head}
    return circuit


def finds_the_smallest(score, heads, bar):
    for size in range(len(heads) + 1):
        for circuit in combinations(heads, size):
            if score(set(circuit)) >= bar:
                return set(circuit)
    return set()


def finds_up_and_down(score, heads, bar):
    """right 7.6"""
    circuit = frozenset()
    while score(circuit) < bar:
        circuit = max((circuit | {head} for head in set(heads) - circuit), key=score)
    while any(score(circuit - {head}) >= bar for head in circuit):
        circuit = max((circuit - {head} for head in circuit), key=score)
    return set(circuit)
