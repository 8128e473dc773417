"""How a search for a circuit goes wrong in lesson 07, and what that is called."""

from collections.abc import Callable

from lessons.checks.indirect_object_search import Case


def slips(case: Case, found: frozenset) -> dict:
    """Map the sentence of each usual mistake to the circuit that it would find.

    Where heads are equally good, a mistake chooses as the learner did, who `found` what was found.
    """
    return wrong_orders(case) | wrong_ways(case, found) | wrong_bars(case)


def wrong_orders(case: Case) -> dict:
    """Map mistakes about the order in which heads are asked, and how often, to what they find."""
    heads, worth, bar = case.heads, case.worth, case.bar
    whole = frozenset(heads)
    missed = {head: worth(whole) - worth(whole - {head}) for head in heads}
    alone = {head: worth(frozenset([head])) for head in heads}
    gone = "once a head has gone, one that was needed before may be needed no more: yours"
    on = "go on until nothing changes"
    return {
        "a head that others stand in for is not missed when it alone goes, nor are they: look at "
        "what is left together, not at one head at a time": {
            head for head in heads if worth(whole - {head}) < bar
        },
        "a head may do its work only together with another: yours takes heads by what each scores "
        "alone": ranked(alone, case),
        "what a head is worth depends on who else is there: yours ranks the heads once, by what "
        "the whole model loses without each": ranked(missed, case),
        f"{gone} asks about each head once": one_pass(heads, case),
        f"{gone} asks about each head once, from the last": one_pass(heads[::-1], case),
        f"{gone} goes through the heads twice; {on}": one_pass(heads * 2, case),
        f"{gone} goes through the heads twice, from the last; {on}": one_pass(
            heads[::-1] * 2, case
        ),
    }  # fmt: skip


def wrong_ways(case: Case, found: frozenset) -> dict:
    """Map mistakes about the way to go, up or down, and where it ends, to what they find."""
    return {
        "adding one head may help nothing until a second is there: yours stops too early": climbed(
            case
        ),
        "yours only adds: a head that helped at first may be needed no more once others are there; "
        "take away at the end what is not needed": grown(case, found),
        "yours takes heads in the order in which they are listed, until the bar is reached": ranked(
            dict.fromkeys(case.heads, 0), case
        ),
        "enough is enough: yours goes on to the highest score there is": highest(case),
    }  # fmt: skip


def wrong_bars(case: Case) -> dict:
    """Map mistakes about the bar, and about what is to be handed back, to what they find."""
    bar, whole = case.bar, frozenset(case.heads)
    at_least = "at least the bar: a circuit that scores just that is good enough"
    return {
        at_least: backward(case, lambda score: score > bar),
        "the bar is the bar: yours takes a circuit that is a hair below it": backward(
            case, lambda score: score >= 0.99 * bar
        ),
        "the bar is given: yours is always 0.9": backward(case, lambda score: score >= 0.9),
        "higher is better: yours refuses scores far above 1": backward(
            case, lambda score: abs(1 - score) <= 1 - bar + 1e-9
        ),
        "yours hands back all heads: leave out what is not needed": whole,
        "yours hands back the heads that it leaves out": whole - backward(
            case, lambda score: score >= bar
        ),
    }  # fmt: skip


def explained(circuit: frozenset, case: Case, others: list[Case], finds: Callable) -> str:
    """Name the mistake that finds this circuit, and most of what else was found; or say ""."""
    like = [said for said, wrong in slips(case, circuit).items() if wrong == circuit]
    agree = dict.fromkeys(like, 0)
    for other in others if len(like) > 1 else []:
        try:
            found = finds(other)
            wrongs = slips(other, found)
        except Exception:  # it stops: that explains nothing
            continue
        for said in like:
            agree[said] += wrongs[said] == found
    return f"{max(agree, key=agree.get)}\n  " if like else ""


def ranked(order: dict, case: Case) -> frozenset:
    """Take heads from the best down until the bar is reached."""
    circuit = frozenset()
    for head in sorted(order, key=order.get, reverse=True):
        if case.worth(circuit) >= case.bar:
            break
        circuit |= {head}
    return circuit


def highest(case: Case) -> frozenset:
    """Go on leaving out heads as long as that does not make the score lower."""
    circuit, worth = frozenset(case.heads), case.worth
    while circuit:
        less = max((circuit - {head} for head in sorted(circuit)), key=worth)
        if worth(less) < worth(circuit):
            break
        circuit = less
    return circuit


def one_pass(order: list, case: Case) -> frozenset:
    """Leave out, one after the other, what is not needed at that time."""
    circuit = frozenset(order)
    for head in order:
        if case.worth(circuit - {head}) >= case.bar:
            circuit -= {head}
    return circuit


def climbed(case: Case) -> frozenset:
    """Add the head that helps most, as long as one helps."""
    circuit = frozenset()
    while case.worth(circuit) < case.bar:
        more = max((circuit | {head} for head in case.heads if head not in circuit), key=case.worth)
        if case.worth(more) <= case.worth(circuit):
            break
        circuit = more
    return circuit


def grown(case: Case, found: frozenset) -> frozenset:
    """Add the head that helps most until the bar is reached; of equals, one that was found."""
    circuit = frozenset()
    while case.worth(circuit) < case.bar:
        left = [head for head in case.heads if head not in circuit]
        best = max(left, key=lambda head: (case.worth(circuit | {head}), head in found))
        circuit |= {best}
    return circuit


def backward(case: Case, is_enough: Callable) -> frozenset:
    """Leave out the head that is missed least, as long as what is left is enough."""
    circuit = frozenset(case.heads)
    while circuit:
        less = max((circuit - {head} for head in sorted(circuit)), key=case.worth)
        if not is_enough(case.worth(less)):
            break
        circuit = less
    return circuit
