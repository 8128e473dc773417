"""Stories in pairs that differ in little, for lesson 06.

The eight stories are those of TransformerLens's "Exploratory Analysis" demo: two on each template,
and in each pair of people either gives. The published numbers for GPT-2 were measured on them. All
words are single tokens in GPT-2's vocabulary and in the small world's, and all stories of a kind
have the same length.

A story's people are (first name, second name, who gives).
"""

from collections.abc import Sequence
from random import Random

from lessons.expect import Band

TEMPLATES = (
    "When {} and {} went to the shops, {} gave the bag to",
    "When {} and {} went to the park, {} gave the ball to",
    "When {} and {} went to the shops, {} gave an apple to",
    "After {} and {} went to the park, {} gave a drink to",
)
PAIRS = [("John", "Mary"), ("Tom", "James"), ("Dan", "Sid"), ("Martin", "Amy")]
PEOPLE = [(a, b, giver) for a, b in PAIRS for giver in (a, b)]  # of the eight stories
RECEIVERS = [b if giver == a else a for a, b, giver in PEOPLE]
LIVES = "{} lives in {} and {} lives in {}. {} went home to"
HOMES = [("Tom", "Rome", "Mary", "Cairo"), ("John", "Paris", "Anna", "London"),
         ("Mark", "Berlin", "Amy", "Moscow"), ("Dan", "Boston", "Alice", "Tokyo")]  # fmt: skip

# ---- what is known of the lesson's rows, by id ---------------------------------------------------

DEMO = {"3.1": Band(3.5515, 3.5525), "4.2": -0.006, "7.1": 2.311, "7.2": "L0 mlp", "7.3": 0.851,
        "8.1": "L5H5", "8.2": 0.3435, "8.3": "L10H7", "8.4": -0.4799}  # fmt: skip
WORLD = {"3.1": 10.202, "3.3": 2.067, "4.2": -0.0005, "5.1": 4, "5.2": "14 ·to", "6.1": 8,
         "6.2": 1.004, "6.3": -0.0026, "6.4": 1.023, "7.1": 2.502, "7.2": "L0 attn", "7.3": 1.001,
         "8.1": "L0H1", "8.2": 0.7078, "8.3": "L1H2", "8.4": 0, "8.5": 0.1911, "9.1": 0.0127,
         "9.2": 0.8464, "9.3": True, "11.2": 0.6624, "11.3": 0.3396, "11.5": 1.139, "12.1": 0.3421,
         "12.2": 0.5755, "12.3": 0.4426, "12.4": 0.3, "12.5": -0.002, "12.6": 0.1344,
         "12.7": 0.0086, "13.1": 0.3979, "13.2": 0.7231, "13.3": 0.3884, "14.1": 0.4132,
         "14.2": 0.2469, "14.3": -0.003, "15.1": 0.3114, "15.2": 0.7078, "15.3": 0.7687,
         "15.4": 0.3352, "15.5": 0.4152, "15.6": 0.2196, "15.7": 0.5436, "16.1": 0.2674,
         "16.3": 0.9357, "16.4": 0.5139, "17.1": 0.2674, "17.2": 0.4984, "17.3": 0.6809,
         "17.4": 0.8496, "18.1": "L1H2", "18.2": -0.3334, "18.3": -0.002, "18.4": -0.0336,
         "18.5": 0.9122, "18.6": 1.0, "20.1": "L0H1", "20.2": 2, "20.3": "L1H1 L1H2",
         "20.4": 1}  # fmt: skip
SOURCE = "TransformerLens demo"  # neelnanda-io/TransformerLens, Exploratory_Analysis_Demo.ipynb
KNOWN = {"gpt2": (DEMO, SOURCE), "world": (WORLD, "recorded")}

# ---- stories -------------------------------------------------------------------------------------


def told(people: Sequence[tuple]) -> list[str]:
    """Tell the eight stories of these people."""
    return [TEMPLATES[i // 2].format(*names) for i, names in enumerate(people)]


def other_gives() -> list[str]:
    """Let the other of the two give."""
    return told([(a, b, other) for (a, b, _), other in zip(PEOPLE, RECEIVERS)])


def other_people() -> list[str]:
    """Tell of three other people: two from the next story, and a third from the one after."""
    return told([(*PAIRS[i // 2 - 3], PAIRS[i // 2 - 2][0]) for i in range(8)])


def other_receiver() -> list[str]:
    """Put another person in the receiver's place; the giver stays."""
    new = [PAIRS[i // 2 - 3][0] for i in range(8)]
    people = [tuple(name if name == giver else other for name in (a, b)) + (giver,)
              for (a, b, giver), other in zip(PEOPLE, new)]  # fmt: skip
    return told(people)


def elsewhere(seed: int, giver: bool = False) -> list[str]:
    """Draw two other people for each story, the first or the second giving, as it comes.

    With `giver`, the story's own giver gives there too, in the other place than at home.
    """
    random, people = Random(f"elsewhere {seed}"), []
    for a, b, own in PEOPLE:
        c, d = random.sample([name for pair in PAIRS for name in pair if name not in (a, b)], 2)
        if giver:
            c, d = (c, own) if own == a else (own, d)
        people.append((c, d, own if giver else random.choice((c, d))))
    return told(people)


def homes() -> tuple[list[str], list[str], list[str], list[str], list[str]]:
    """Return eight stories of who lives where; the same with the other asked; with the cities
    exchanged; and for each the right city and the other one.
    """
    both = [(a, x, b, y, who) for a, x, b, y in HOMES for who in (a, b)]
    stories = [LIVES.format(*one) for one in both]
    other_asked = [LIVES.format(a, x, b, y, b if who == a else a) for a, x, b, y, who in both]
    exchanged = [LIVES.format(a, y, b, x, who) for a, x, b, y, who in both]
    right = [x if who == a else y for a, x, _, y, who in both]
    wrong = [y if who == a else x for a, x, _, y, who in both]
    return stories, other_asked, exchanged, right, wrong
