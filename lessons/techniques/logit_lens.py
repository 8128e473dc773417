"""Read the residual stream before its end, say who wrote the answer, and rewrite it (lesson 04).

The logit lens (nostalgebraist 2020) unembeds the stream of any depth as if it were the last. The
affine lens (Belrose et al. 2023, "tuned lens") first maps it by a matrix and a vector of its own,
fitted so that the reading comes as near to the model's last word as it can.

Letters: b prompt, p position, d d_model, m neuron, v vocabulary, n examples.
"""

import torch
from torch import Tensor

from lessons import figures


def depths(n_layers: int) -> dict[str, str]:
    """Name the depths at which the stream can be read, each with its site.

    embed, then for each layer its stream after attention (0_mid) and after the MLP (0_post).
    """
    sites = {"embed": "blocks.0.hook_resid_pre"}
    for layer in range(n_layers):
        sites |= {f"{layer}_{at}": f"blocks.{layer}.hook_resid_{at}" for at in ("mid", "post")}
    return sites


def streams(cache) -> Tensor:  # -> [depth b p d]
    """Stack the residual stream at every depth."""
    return torch.stack([cache[site] for site in depths(cache.model.cfg.n_layers).values()])


def lens(resid: Tensor, ln, W_U: Tensor) -> Tensor:  # [... d] -> [... v]
    """Unembed a stream of any depth as if it were the last: what would the model say now?

    `ln` is the model's last layer norm, a function [... d] -> [... d] that computes mean and
    divisor from whatever it is handed; `W_U` [d v]. Returns logits, not probabilities.
    """
    # exercise 4.1: the logit lens (3 min)
    return ln(resid) @ W_U
    # end


def lens_held(resid: Tensor, scale: Tensor, ln, W_U: Tensor) -> Tensor:  # [... d] -> [... v]
    """Unembed with the divisor `scale` [... 1] of another stream: right for shares, not to read.

    ((resid - mean) / scale * w + b) W_U: what the parts written so far add to the last logits.
    """
    centred = resid - resid.mean(-1, keepdim=True)  # [... d]
    return (centred / scale * ln.w + ln.b) @ W_U


def settles(logits: Tensor, answer: int) -> int:  # [depth v] -> 0 .. depth
    """Find the first depth from which on the answer is the first choice, and stays it.

    `logits` [depth v] are the lens's, from the embedding to the end. A depth counts only if the
    answer has the largest logit there and at every later depth. If it has not even at the last,
    return the number of depths.
    """
    # exercise 4.2: from where on it knows (8 min)
    first = (logits.argmax(-1) == answer).tolist()  # [depth]
    depth = len(first)
    while depth and first[depth - 1]:
        depth -= 1
    return depth
    # end


def neuron_shares(
    post: Tensor, W_out: Tensor, scale: Tensor, w: Tensor, direction: Tensor
) -> Tensor:
    """Say what each neuron writes of a logit, or of a difference of two: [b m], for b prompts.

    A neuron writes its activation times its row of W_out. The last layer norm centres that row on
    0, divides it by `scale` and multiplies it by `w`; then `direction` reads it. The divisor is
    the whole stream's, one per prompt, and held: so the shares add up.

    post [b m] (after the gelu), W_out [m d], scale [b 1], w [d], direction [b d] (for each prompt a
    column of W_U, or a difference of two) -> shares [b m]. The biases are no neuron's.
    """
    # exercise 4.3: the neurons' shares (10 min)
    rows = (W_out - W_out.mean(-1, keepdim=True)) * w  # [m d]
    return post / scale * (direction @ rows.mT)
    # end


def kl(final: Tensor, reading: Tensor) -> Tensor:  # logits [... v] twice -> [...]
    """Measure what a reading costs whoever bets on it: KL(final || reading), in nats.

    Both are logits; softmax makes P of `final` and Q of `reading`. The sum over v of
    P (log P - log Q): where words come as the model says, P, it is how many nats more the bets of
    Q lose, on average, than those of P. log_softmax keeps log Q finite where Q rounds to 0.
    """
    # exercise 4.4: KL, and which way round (8 min)
    log_p, log_q = final.log_softmax(-1), reading.log_softmax(-1)  # [... v] each
    return (log_p.exp() * (log_p - log_q)).sum(-1)
    # end


def fit_lens(stream: Tensor, final: Tensor, read, steps: int, lr=0.01, batch=512, seed=0):
    """Fit a matrix A and a vector b so that `read(x @ A + b)` says what the model will say.

    stream [n d] is what the lens sees, final [n v] the model's own last logits there, `read` the
    plain lens, [... d] -> [... v]. Start from A = the identity and b = 0, which is the plain lens.
    Each of the `steps`: draw `batch` of the n examples at random (torch.Generator with `seed`),
    take the mean of kl(final, reading), one step of Adam. Its rate falls evenly, from lr at the
    first step to lr / steps at the last. -> A [d d], b [d], without gradients. Note: the lesson
    runs with gradients off, so work under torch.enable_grad().
    """
    # exercise 4.5: the affine lens (20 min)
    draw = torch.Generator().manual_seed(seed)
    A = torch.eye(stream.shape[-1]).requires_grad_()
    b = torch.zeros(stream.shape[-1]).requires_grad_()
    adam = torch.optim.Adam([A, b], lr)
    for step in range(steps):
        adam.param_groups[0]["lr"] = lr * (1 - step / steps)
        rows = torch.randint(len(stream), (batch,), generator=draw)
        with torch.enable_grad():
            loss = kl(final[rows], read(stream[rows] @ A + b)).mean()
            adam.zero_grad()
            loss.backward()
        adam.step()
    return A.detach(), b.detach()
    # end


def rewrite(fall: Tensor, lead: Tensor, keep: float = 0.5) -> list[int]:
    """Choose neurons that turn the first prompt's answer and leave those of the others alone.

    lead [n]: by how much the right answer leads in each prompt, all above 0. fall [n m]: by how
    much each prompt's lead falls if neuron m is told another story; what several do adds up. Return
    neurons, each once, so that the first prompt's lead gets below 0 and every other prompt keeps
    at least `keep` of its own. Any choice that does it is right, if it is not much longer than it
    has to be: at most twice the shortest that we know. Return [] if you find none.
    """
    # exercise 4.6: rewrite one fact (25 min)
    chosen, left = [], lead.clone()
    while left[0] >= 0:
        after = left[1:, None] - fall[1:]  # [n-1 m], the others' leads, were m chosen next
        safe = (after >= keep * lead[1:, None]).all(0)  # [m]
        safe[chosen] = False
        gain = fall[0].masked_fill(~safe, 0)  # [m]
        if gain.max() <= 0:
            return []
        chosen.append(int(gain.argmax()))
        left = left - fall[:, chosen[-1]]
    return chosen
    # end


def at_last(model, tokens: Tensor) -> tuple[Tensor, Tensor]:  # [n p] -> [depth n d], [n v]
    """Run prompts of one length; return the last token's stream at every depth, and its logits."""
    logits, cache = model.run_with_cache(tokens, names_filter=lambda name: "hook_resid" in name)
    return streams(cache)[:, :, -1], logits[:, -1]


def write(model, n: int, length: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Let the model write n texts of its own, from BOS on, each word drawn by its probability.

    Returns, for each word that has one after it: the stream at every depth [depth n p d], the
    model's logits [n p v], and the word that came next [n p].
    """
    start = torch.full((n, 1), model.tokenizer.bos or 0)
    texts = model.generate(start, length - 1, temperature=1.0, seed=seed, stop_at_eos=False)
    logits, cache = model.run_with_cache(texts, names_filter=lambda name: "hook_resid" in name)
    return streams(cache)[:, :, :-1], logits[:, :-1], texts[:, 1:]


def facts(model, template: str, table: dict) -> tuple[list, Tensor, Tensor]:
    """Ask for what a table says, in the template: names [n], prompts as tokens [n p], answers [n].

    Kept is what the model's vocabulary has as single words, and of that what the model gets right;
    all of it, if that is less than three.
    """
    words = model.tokenizer.backend.get_vocab()
    names = [name for name, said in table.items() if {f"Ġ{name}", f"Ġ{said}"} <= words.keys()]
    answers = torch.tensor([words[f"Ġ{table[name]}"] for name in names])  # [n]
    tokens = model.to_tokens([template.format(name) for name in names])  # [n p]
    right = (model(tokens)[:, -1].argmax(-1) == answers).nonzero()[:, 0].tolist()
    kept = right if len(right) > 2 else [*range(len(names))]
    return [names[i] for i in kept], tokens[kept], answers[kept]


def with_last(model, tokens: Tensor, depth: str, said: Tensor) -> Tensor:
    """Run prompts [b p] whose last token's stream at one depth is `said` [b d]: logits [b v]."""

    def hook(resid, hook):  # [b p d]
        resid[:, -1] = said
        return resid

    site = depths(model.cfg.n_layers)[depth]
    return model.run_with_hooks(tokens, fwd_hooks=[(site, hook)])[:, -1]


def told(model, prompts: Tensor, neurons: Tensor, said: Tensor, *more) -> Tensor:
    """Run prompts [n p] in which some neurons of the last MLP say something else: logits [n v].

    `neurons` [n k] are replaced at the last token by what `said` [n m] has for them; `more` hooks.
    """

    def hook(post, hook):  # [n p m]
        post[:, -1] = post[:, -1].scatter(-1, neurons, said.gather(-1, neurons))
        return post

    site = f"blocks.{model.cfg.n_layers - 1}.mlp.hook_post"
    return model.run_with_hooks(prompts, fwd_hooks=[(site, hook), *more])[:, -1]


def others(answers: Tensor) -> list[int]:
    """Pair each prompt with the next one (round the end) whose answer is another."""
    n, answers = len(answers), answers.tolist()
    turns = [[(i + step) % n for step in range(n)] for i in range(n)]
    return [next((j for j in turn if answers[j] != answers[turn[0]]), turn[0]) for turn in turns]


def table(words: list[list[str]], rows: list[str], columns: list[str], width=13) -> str:
    """Write words [row column] as a table, each cut to fit."""
    label = max(map(len, rows)) + 2
    lines = ["".join([" " * label, *(f"{name:<{width}}" for name in columns)])]
    for name, line in zip(rows, words):
        lines.append(f"{name:<{label}}" + "".join(f"{word[: width - 1]:<{width}}" for word in line))
    return "\n".join(line.rstrip() for line in lines)


def over_depths(names: list[str], series: dict, title: str, ylabel: str, level=()) -> figures.Plot:
    """Draw one line per named series over depths."""
    plot = figures.line(range(len(names)), series, title, "depth", ylabel, level=level)
    plot.figure.axes[0].set_xticks(range(len(names)), names, rotation=90 if len(names) > 8 else 0)
    return plot
