# Yours to fill in: write lines in place of each `raise NotImplementedError`. Then
#   make check-07           says what is right, what is not yet, and why; make hint-7.1 helps
#   make lesson-07 MINE=1   runs the lesson on what you have written
# Made from lessons/techniques/indirect_object.py, where the answers are, by `python -m lessons.course stubs`.
"""From a behaviour to its circuit: the measures and the knives of lesson 07.

Wang et al. 2022, "Interpretability in the Wild: a Circuit for Indirect Object Identification in
GPT-2 small": find the heads that write the answer, then those that tell them, then hold what was
found against the whole model. IO is the indirect object, the name to be said; S is the subject, the
giver, who is named twice. p_ABC are the same sentences with three unrelated names. Measures of
whole circuits stand in circuits.py, prompts in prompts.py.

Letters: b prompts, p position, h head, d d_model, e d_head, v vocabulary, n names. A head is a pair
(layer, head); a circuit is a set of heads.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

Head = tuple[int, int]


def logit_diff(logits: Tensor, right: Tensor, wrong: Tensor) -> Tensor:  # [b p v] -> [b]
    """Say by how much each prompt's last token prefers its right answer to its wrong one.

    The logit of `right` minus the logit of `wrong` at the last position. `right` and `wrong` [b]
    are token ids, of every prompt its own: the names of one prompt are no answer to another.
    """
    # exercise 7.1: logit difference (5 min)
    raise NotImplementedError("exercise 7.1")
    # end


def direct_effect(model, tokens: Tensor, other: Tensor, layer: int, head: int) -> Tensor:
    """Path patching, one head -> logits: tokens [b p], other [b p] -> the run's logits [b p v].

    Wang et al. 2022, section 3.1 and appendix B. The run is on `tokens`. One head says what it says
    in the run on `other`: its z (site `hook_z`, [b p h e]) is taken from there, at all positions.
    Every other head of every layer is held: its z is what it was in the plain run on `tokens`, so
    none can pass on what was changed. MLPs and layer norms are not held and run as they always do.
    So what reaches the logits came from the head, straight or through MLPs, and through no other.
    """
    # exercise 7.2: path patching (20 min)
    raise NotImplementedError("exercise 7.2")
    # end


def copying_score(
    model, stream: Tensor, names: Tensor, layer: int, head: int, k: int = 5, sign: int = 1
) -> float:
    """Say how many names a head would copy, if it looked at nothing but the name: 0 to 1.

    Wang et al. 2022, section 3.1. `stream` [n d] is the residual stream where a name stands, after
    the first layer; `names` [n] are the names' ids. The head reads the stream through its layer's
    `ln1`, hands over the value (`W_V`, `b_V`), and writes it with `W_O`; b_O is no head's. What it
    wrote, alone, goes through `ln_final` and `W_U`. A name counts as copied if it is among the k
    words with the highest logits; the score is the share of names that are. `sign` -1 asks what the
    head writes against: what it wrote is multiplied with it before the last norm.
    """
    # exercise 7.3: copying score (15 min)
    raise NotImplementedError("exercise 7.3")
    # end


def template_means(z: Tensor, template: Tensor) -> Tensor:  # [b p h e], [b] -> [b p h e]
    """Replace every prompt's activation by the mean over the prompts of its own template.

    Wang et al. 2022, section 2.1. `template` [b] says from which template each prompt was made.
    What all its prompts share stays: which word stands where, that a name is due. What is one
    prompt's own goes: which name. So each position has its own mean, each head, and each number;
    and position 5 of one template is not averaged with position 5 of another, where another part
    of the sentence stands. Returns a new tensor of z's shape.
    """
    # exercise 7.4: mean over the template (10 min)
    raise NotImplementedError("exercise 7.4")
    # end


def knocked_out(model, tokens: Tensor, circuit: set[Head], donor: Mapping[int, Tensor]) -> Tensor:
    """Run a circuit, all other heads being knocked out: tokens [b p] -> logits [b p v].

    Wang et al. 2022, section 2.1. Every head (layer, head) that is not in `circuit` says, at all
    positions, what `donor` holds for it: donor[layer] [b p h e] is the z of all heads of a layer,
    such as their means. The heads of the circuit compute as they do, from what they now read; MLPs,
    layer norms and embeddings stay. `donor` is needed again: leave it as it is.
    """
    # exercise 7.5: knock out (15 min)
    raise NotImplementedError("exercise 7.5")
    # end


def find_circuit(
    score: Callable[[frozenset[Head]], float], heads: Iterable[Head], bar: float
) -> set[Head]:
    """Find a small circuit that does the work: a set of `heads` whose score is at least `bar`.

    `score` says how much of the work a set of heads does, as 0.93; higher is better. Two things are
    asked of the circuit found: its score is at least `bar`, and every head of it is needed: without
    any one, the rest would score below `bar`. Which of several such circuits you find is up to you,
    and so is how you search. Asking costs: for n heads ask `score` at most 2^n times, and for 15
    heads at most 1,000 times. All heads together reach the bar. A score need not grow with the
    circuit: some heads work against the others.
    """
    # exercise 7.6: find a circuit (30 min)
    raise NotImplementedError("exercise 7.6")
    # end
