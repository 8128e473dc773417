"""What is known of the indirect-object circuit, of GPT-2 small and of the world model (lesson 07).

GPT-2 small: Wang et al. 2022 (arXiv 2211.00593), its sections named beside each number, and
TransformerLens's exploratory notebook. The world model: what this lesson recorded.
"""

from dataclasses import dataclass
from itertools import chain

from lessons.expect import Band, at_least, at_most

CLASSES = {  # 26 heads in 7 classes: Wang et al. 2022, figure 2
    "name mover": [(9, 9), (9, 6), (10, 0)],
    "negative name mover": [(10, 7), (11, 10)],
    "S-inhibition": [(7, 3), (7, 9), (8, 6), (8, 10)],
    "induction": [(5, 5), (5, 8), (5, 9), (6, 9)],
    "duplicate token": [(0, 1), (0, 10), (3, 0)],
    "previous token": [(2, 2), (4, 11)],
    "backup name mover": [(9, 0), (9, 7), (10, 1), (10, 2), (10, 6), (10, 10), (11, 2), (11, 9)],
}
PAPER, DEMO = "Wang et al. 2022", "TransformerLens demo"


@dataclass(frozen=True)
class Facts:
    """What is known of a model's circuit: heads by name, and how many of each to look for."""

    movers: frozenset = frozenset()
    readers: frozenset = frozenset()  # who tell the movers where to look: S-inhibition heads
    circuit: frozenset = frozenset()
    n_movers: int = 2
    n_readers: int = 2


def facts(model: str) -> Facts:
    """Return what is known of a model's circuit; of an unknown model nothing."""
    if model == "world":  # weights/README.md
        return Facts(frozenset([(1, 0), (1, 1)]), frozenset([(0, 1), (0, 2)]))
    if model == "gpt2":
        movers, readers = (frozenset(CLASSES[name]) for name in ("name mover", "S-inhibition"))
        return Facts(movers, readers, frozenset(chain(*CLASSES.values())), 3, 4)
    return Facts()


def known(model: str) -> list[tuple[dict, str]]:
    """List what is known of the lesson's rows on a model: (row -> value, source)."""
    return KNOWN.get(model, [])


GPT2 = {  # our templates are not the paper's: bands, not numbers
    "3.1": Band(2.5, 4.6),  # 3.56, section 2
    "3.2": at_least(0.95),  # 99.3 %, section 2
    "6.3": at_least(2),  # of 3, section 3.1
    "7.1": at_least(0.75),  # above 0.81, figure 3
    "8.1": at_least(0.9),  # above 95 %, section 3.1
    "8.2": at_most(0.25),  # under 20 %, section 3.1
    "8.4": Band(0.45, 0.75),  # 0.59, section 3.1
    "9.1": "queries",  # section 3.2
    "9.4": at_least(3),  # of 4, section 3.2
    "12.4": Band(0.35, 0.65),  # 0.51, section 3.2
    "14.1": at_most(0.2),  # 5 %, section 3.4
}
WORLD = {
    "2.3": 5.286, "3.1": 10.338, "3.2": 1.0, "3.3": 1.0, "3.4": 0.0, "3.5": 2.981, "3.6": 10.202,
    "5.3": "L0H1", "5.4": -3.061, "6.1": 0.048, "6.2": "L1H1 L1H0", "6.4": -1.564, "6.5": -0.148,
    "7.1": 0.872, "7.2": -0.055, "7.3": 2.644, "8.1": 1.0, "8.2": 0.216, "8.3": 0.865,
    "8.4": 0.765, "9.1": "queries", "9.2": "L0H1 L0H2", "9.3": -3.379, "9.5": -0.003, "9.6": 0.212,
    "10.1": -10.506, "10.2": 0.104, "10.3": -3.208, "10.4": 10.198, "10.5": 10.565, "11.1": 1.001,
    "11.2": 0.33, "11.3": 0.78, "11.4": 0.194, "12.1": 0.584, "12.2": 0.579, "12.3": 0.014,
    "12.4": 0.534, "13.1": 1.009, "13.2": 0.481, "13.3": 1.34, "13.4": 0.327, "13.5": 0.003,
    "14.1": 0.256, "14.2": 0.943, "14.3": 0, "14.4": 0.65, "14.5": 0.512, "14.6": -0.005,
    "14.7": -0.273, "14.8": -0.084, "15.1": 0.969, "15.2": "L0H1 L1H1", "15.3": 0.333,
    "15.4": -0.01, "16.1": 0.703, "16.2": 0.579, "16.3": 0.01, "16.4": 1.0, "17.1": 0.552,
    "17.2": 0.035, "17.3": 0.996, "17.4": 0.549, "18.1": 0.552, "18.2": 0.39, "18.3": 0.011,
    "19.1": 6.016, "19.2": "L0H1", "19.3": 0.118, "19.4": 1.877, "19.5": 0.1,
}  # fmt: skip
KNOWN = {
    "gpt2": [
        (GPT2, PAPER),
        ({"3.6": 3.552}, DEMO),
        ({"15.1": Band(0.75, 1.0)}, f"{PAPER}: 0.87, each head at its own positions"),
    ],
    "world": [(WORLD, "recorded"), ({"6.3": 2, "9.4": 2}, "weights/README.md")],
}
