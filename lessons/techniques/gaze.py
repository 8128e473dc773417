"""Who looks where in the indirect-object circuit, and what comes of it (lesson 07)."""

import torch
from torch import Tensor

from lessons import figures
from lessons.techniques.indirect_object import Head
from lessons.techniques.prompts import one_token
from lessons.techniques.roads import called, swept
from lessons.techniques.sweep import Nodes, Paths
from minimech.world import NAMES


def looks_and_writes(batches, caches, head: Head) -> Tensor:  # -> [2 n]
    """For each prompt and each of its two names: attention from END, and what the head writes.

    What it writes: its output's share in the name's logit, the last norm's scale held. S is looked
    at in two places; their shares are added (Wang et al. 2022, figure 3c).
    """
    pairs = []
    for batch, cache in zip(batches, caches):
        layer, i = head
        result = cache.apply_ln(cache.head_results(layer, -1)[i][None], -1)[0]  # [b d]
        pattern = cache["pattern", layer]
        at_io, at_s, again = (batch.looks(pattern, i, role) for role in ("IO", "S1", "S2"))
        for look, name in ((at_io, batch.io), (at_s + again, batch.s)):
            pairs.append(torch.stack([look, (result * cache.model.W_U.T[name]).sum(-1)]))
    return torch.cat(pairs, dim=-1)


def blindest(looked: dict[Head, Tensor], layer: int, movers) -> Head:
    """Find the head that looks at names least, of a layer's heads (else of all) but the movers."""
    others = [head for head in looked if head not in movers]
    beside = [head for head in others if head[0] == layer]
    return min(beside or others, key=lambda head: looked[head][0].mean())


def at_names(batches, caches) -> tuple[Tensor, Tensor]:  # -> [n d], [n]
    """Return the stream after the first layer where IO and S1 stand, and these names' ids."""
    streams, names = [], []
    for batch, cache in zip(batches, caches):
        rows = torch.arange(len(batch.io))
        streams += [cache["resid_post", 0][rows, batch.at[role]] for role in ("IO", "S1")]
        names += [batch.io, batch.s]
    return torch.cat(streams), torch.cat(names)


def mean_look(batches, caches, heads, role: str) -> float:
    """Return the share of attention that heads give a role from END, over heads and prompts."""
    looks = [
        batch.looks(cache["pattern", layer], head, role)
        for batch, cache in zip(batches, caches)
        for layer, head in heads
    ]
    return torch.cat(looks).mean().item()


def looks_back(batches, caches, head: Head) -> float:
    """Return the share of attention that a head gives, at S2, to S1."""
    layer, i = head
    shares = [
        cache["pattern", layer][torch.arange(len(b.io)), i, b.at["S2"], b.at["S1"]]
        for b, cache in zip(batches, caches)
    ]
    return torch.cat(shares).mean().item()


def how_it_knows(model, batches, reader: Head) -> figures.Plot:
    """Show what makes a reader look where it looks.

    In layer 0 it sees words and places alone: its mean score, from END, for a name put in each
    place, and for all words that are no name. In a later layer: who speaks to its values.
    """
    layer, head = reader
    if layer:
        to = Nodes("v", layers=layer, heads=head)
        spoken = swept(model, batches, Paths(Nodes("z", "layer head", range(layer)), to=to))
        return spoken.plot(f"Into the values of {called([reader])} others speak", "change")
    batch, attn = batches[0], model.blocks[0].attn
    q = model.run_with_cache(batch.tokens)[1]["q", 0][:, -1, head].mean(0)  # [e]
    places = range(1, batch.tokens.shape[1] - 1)
    names = [space + name for space in (" ", "") for name in one_token(model, NAMES, space)]
    names = torch.tensor([model.to_single_token(name) for name in names])
    others = torch.ones(model.cfg.d_vocab, dtype=torch.bool).index_fill(0, names, False)
    words = {"names": torch.cat([b.io for b in batches]).unique()}
    words |= {"other words": others.nonzero()[:, 0]}
    scores = {}
    for name, ids in words.items():
        x = model.W_E[ids, None] + model.W_pos[places]  # [n p d]
        k = model.blocks[0].ln1(x) @ attn.W_K[head] + attn.b_K[head]  # [n p e]
        scores[name] = (k @ q / model.cfg.d_head**0.5).mean(0)  # [p]
    gap, late = scores["names"] - scores["other words"], scores["names"][-1] - scores["names"][0]
    title = f"For {called([reader])} a name scores {gap.mean():+.1f} over other words,"
    title += f" the last place {late:+.1f} over the first"
    return figures.line(list(places), scores, title, "place in the prompt", "score, from END")
