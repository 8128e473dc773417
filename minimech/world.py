"""The small world: a probabilistic program that writes English with every token's true features.

Why: a network trained on these sentences can be scored against the truth. For each token the
program knows what it is (class, gender, role in the scene, inside a quotation, ...), whether it
could be foreseen, and what it cost: -log p of the choices that it reveals, in nats. Each sentence
has one derivation, so these costs sum to the exact entropy that a model's loss can be held to.

How to read it: `world.grammar` first: the words, the rules, and a glossary of the features. Then
`Writer`, which interprets it. A `Document` is <|endoftext|> and then sentences, the last cut
where the context ends, or random words of which random stretches recur.
"""

import math
from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random

BOS = "<|endoftext|>"


def _read_grammar():
    """Read world.grammar: section -> {entry's name: its body on one line}."""
    sections, name = {}, ""
    for line in Path(__file__).with_suffix(".grammar").read_text().splitlines():
        if line.startswith("["):
            entries = sections[line.strip("[]")] = {}
        elif line.startswith(" "):
            entries[name] += " " + line.strip()
        elif line and line[0] != "#":
            name, body = (part.strip() for part in line.split(":", 1))
            entries[name] = body
    return sections


def _compile(rules):
    """name -> (alternatives as lists of symbols, their cumulative odds, their costs in nats)."""
    grammar = {}
    for name, body in rules.items():
        options = [option.rpartition("*") for option in body.split(" | ")]
        weights = [int(weight or 1) for weight, _, _ in options]
        odds = list(accumulate(weight / sum(weights) for weight in weights))
        costs = [-math.log(weight / sum(weights)) for weight in weights]
        grammar[name] = ([text.split() for _, _, text in options], odds, costs)
    return grammar


LANGUAGE = _read_grammar()
WORDS = {name: body.split() for name, body in LANGUAGE["words"].items()}
KINDS = {name: int(share) for name, share in LANGUAGE["kinds"].items()}
FEATURES = LANGUAGE["features"]
IO_TEMPLATES = tuple(LANGUAGE["prompts"].values())
GRAMMAR = _compile({n: " | ".join(ws) for n, ws in WORDS.items()} | LANGUAGE["rules"])
NAMES = [name for pair in zip(WORDS["male"], WORDS["female"], strict=True) for name in pair]
INDEX = {word: i for words in (NAMES, WORDS["city"]) for i, word in enumerate(words)}
TABLES = {  # the fixed facts: what is asked about -> the answer
    "fact": {city: WORDS["country"][i // 2] for i, city in enumerate(WORDS["city"])},
    "workplace": dict(zip(WORDS["profession"], WORDS["workplace"], strict=True)),
    "category": {word: kind for kind in ("color", "food", "animal") for word in WORDS[kind]},
}
ASKS = {"CITY": "fact", "JOB": "workplace", "EXAMPLE": "category"}
TELLS = {"COUNTRY": "fact", "WORKPLACE": "workplace", "CATEGORY": "category"}
PEOPLE = dict.fromkeys("ABCD", "other") | {"X": "bystander", "P": "subject", "H": "S1"}
PRONOUNS = {"HE": ("he", "she"), "HIS": ("his", "her"), "HIMSELF": ("himself", "herself")}


def _vocabulary():
    """List every token: BOS, marks, words with their space, and words that can stand without."""
    words = {w for rule in GRAMMAR.values() for option in rule[0] for w in option}
    words = {w for w in words if not w.isupper() and w[0] not in "$~,.?!"}
    words |= {"an", *TABLES["category"].values()}.union(*WORDS.values())
    bare = [w for w in words if w[0].isupper() and w not in WORDS["country"]]
    bare += [word for (word,) in GRAMMAR["we"][0]]
    return [BOS, *',.?!"', ' "', *sorted(" " + w for w in words), *sorted(bare)]


def _lexicon():
    """word -> its features that no context changes."""
    lexicon = {word: {"class": kind} for kind, words in WORDS.items() for word in words}
    for i, gender in enumerate(("male", "female")):
        for word in WORDS[gender] + [words[i] for words in PRONOUNS.values()]:
            lexicon[word]["gender"] = gender
    for feature, table in (("country", "fact"), ("category", "category")):
        for word, answer in TABLES[table].items():
            lexicon[word][feature] = answer
    for word in WORDS["animal"] + WORDS["object"] + ["is", "was"]:
        lexicon[word]["number"] = "singular"
    for word in WORDS["animals"] + WORDS["things"] + ["are", "were"]:
        lexicon[word]["number"] = "plural"
    return lexicon | {mark: {"class": "punctuation"} for mark in ',.?!"'}


VOCABULARY, LEXICON = _vocabulary(), _lexicon()
SPACED = [token for token in VOCABULARY if token[0] == " " and token[1:].isalpha()]


def held_out(a, b):
    """Whether this pair (two names, or a name and a city) is kept from every training sentence."""
    return (INDEX[a] + INDEX[b]) % 10 == 0


@dataclass
class Document:
    """Tokens, and for each: its features, its cost in nats, and whether a loss should count it."""

    tokens: list
    features: list
    nll: list
    scored: list

    @property
    def text(self):
        """What a tokenizer would turn back into these tokens, BOS left out."""
        return "".join(self.tokens[1:])


class Writer:
    """Interpret the grammar: pick alternatives, say words, remember who is where."""

    def __init__(self, random, unseen=False):
        self.random, self.unseen = random, unseen  # unseen: names meet in held-out pairs only
        self.tokens, self.features, self.nll = [BOS], [{"class": "BOS"}], [0.0]
        self.homes, self.cost, self.sentence, self.glue = {}, 0.0, -1, True

    def write(self, kind):
        """Write one sentence of this kind, then set what only its end decides."""
        self.sentence, self.start = self.sentence + 1, len(self.tokens)
        self.kind, self.context = kind, {}
        self.scene, self.given, self.people, self.first, self.said = [], [], [], {}, set()
        if kind == "home":
            kind = "recall" if self.homes and self.chance(2 / 3) else "tell"
        self.expand(kind)
        says = self.tokens[self.start :]
        ending = "question" if "?" in says else "command" if "!" in says else "statement"
        for i in range(self.start, len(self.tokens)):
            self.features[i]["type"] = ending
            if self.tokens[i] == " a" and self.tokens[i + 1][1] in "aeiou":
                self.tokens[i] = " an"

    # choices: each adds its -log p to the cost of the next word said
    def pick(self, options):
        self.cost += math.log(len(options))
        return options[int(self.random.random() * len(options))]

    def chance(self, p):
        yes = self.random.random() < p
        self.cost -= math.log(p if yes else 1 - p)
        return yes

    def expand(self, rule):
        alternatives, odds, costs = GRAMMAR[rule]
        i = min(bisect(odds, self.random.random()), len(odds) - 1)
        self.cost += costs[i]
        self.say_all(alternatives[i])

    def say_all(self, symbols):
        for symbol in symbols:
            if symbol[0] == "$":
                self.expand(symbol[1:])
            elif symbol in ASKS:
                self.asked = self.pick(list(TABLES[ASKS[symbol]]))
                self.say(self.asked)
            elif symbol in TELLS:
                table = TABLES[TELLS[symbol]]
                wrong = next(v for v in table.values() if v != table[self.asked])
                self.answer(table[self.asked], wrong, TELLS[symbol])
            elif symbol in PRONOUNS:
                self.answer(*PRONOUNS[symbol][:: 1 if self.subject == "male" else -1], "pronoun")
            elif symbol in PEOPLE:
                self.person(PEOPLE[symbol])
            elif symbol.isupper():
                getattr(self, symbol)()
            elif symbol != "~":
                self.say(symbol)

    def say(self, word, **features):
        self.tokens.append(word if self.glue or word in ",.?!" else " " + word)
        known = {"class": "function", "kind": self.kind, "sentence": self.sentence}
        known |= {"place": len(self.tokens) - 1 - self.start, "seen": word in self.said}
        self.features.append(known | self.context | LEXICON.get(word, {}) | features)
        self.nll.append(self.cost)
        self.said.add(word)
        self.cost, self.glue = 0.0, False

    def answer(self, word, wrong, behaviour, **features):
        """Say a word that the context determines, and note what it is graded as."""
        wrong = wrong if wrong in ",.?!" else " " + wrong
        self.say(word, behaviour=behaviour, wrong=wrong, **features)

    def person(self, role):
        """Say a name that is new in this sentence; held-out pairs meet only if `unseen`."""
        met = self.scene[:1] if self.unseen else self.people
        fit = [n for n in NAMES if all(held_out(n, other) == self.unseen for other in met)]
        self.people.append(self.pick([n for n in fit if n not in self.people]))
        self.mention(self.people[-1], role)
        if role in ("other", "S1"):
            self.scene.append(self.people[-1])
            self.given = self.scene[:] if role == "S1" else self.given

    def mention(self, name, role):
        self.first.setdefault(name, len(self.tokens))
        if role in ("subject", "S1", "S2"):
            self.subject = self.context["subject_gender"] = LEXICON[name]["gender"]
        self.say(name, role=role)

    def call(self, name, role):
        """Give the name's first mention its role, once it is known; the first role stays."""
        feature = self.features[self.first[name]]
        feature["role"] = role if feature["role"] == "other" else feature["role"]

    # the grammar's upper-case symbols: what depends on what was said before
    def S(self):
        self.given = [self.pick(self.scene)]
        self.call(self.given[0], "S1")
        self.mention(self.given[0], "S2")

    def T(self):
        self.given.append(self.pick([n for n in self.scene if n not in self.given]))
        self.mention(self.given[-1], "T")

    def R(self):
        rest = [n for n in self.scene if n not in self.given]
        name = self.pick(rest)
        self.features[-1]["role"] = "END"
        self.call(name, "IO")
        if len(rest) == 1:
            self.answer(name, self.given[0], "indirect_object", role="R")
        else:
            self.say(name, role="R")
        self.given.append(name)

    def MORE(self):
        while len(self.given) < len(self.scene) and self.chance(0.6):
            self.say_all(["and", "$item", "to", "R"])

    def NEW(self):
        self.owner = self.pick([name for name in NAMES if name not in self.homes])
        self.mention(self.owner, "subject")

    def OWNER(self):
        self.owner = self.pick(list(self.homes))
        self.mention(self.owner, "subject")

    def HOME(self):
        """Tell where the owner lives if that is not known yet, otherwise recall it."""
        if self.owner in self.homes:
            home = self.homes[self.owner]
            wrong = [city for city in ["Rome", "Paris", *self.homes.values()] if city != home][-1]
            return self.answer(home, wrong, "context_fact")
        fit = [city for city in WORDS["city"] if held_out(self.owner, city) == self.unseen]
        self.homes[self.owner] = self.pick(fit)
        self.say(self.homes[self.owner])

    def NOUN(self):
        noun = self.pick(WORDS["animal"] + WORDS["animals"])
        self.context["subject_number"] = LEXICON[noun]["number"]
        self.say(noun, role="subject")

    def IS(self):
        pair = ("is", "are") if self.chance(0.5) else ("was", "were")
        plural = self.context["subject_number"] == "plural"
        self.answer(*pair[:: -1 if plural else 1], "agreement")

    def OPEN(self):
        self.context["in_quote"] = True
        self.say('"')
        self.glue = True

    def CLOSE(self):
        self.glue = True
        self.answer('"', ".", "quotation")
        del self.context["in_quote"]


def documents(seed, n, n_ctx=128, repeats=0.25, unseen=False):
    """Yield n documents of n_ctx tokens; a share `repeats` of them is random words that recur."""
    random = Random(f"world {seed}")
    for _ in range(n):
        if random.random() < repeats:
            yield repeat_document(random, n_ctx)
            continue
        writer = Writer(random, unseen)
        while len(writer.tokens) < n_ctx:
            kind = random.choices(list(KINDS), KINDS.values())[0]
            writer.cost = -math.log(KINDS[kind] / sum(KINDS.values()))
            writer.write(kind)
        columns = [column[:n_ctx] for column in (writer.tokens, writer.features, writer.nll)]
        yield Document(*columns, scored=[False] + [True] * (n_ctx - 1))


def repeat_document(random, n_ctx=128):
    """Random words, no word twice but for stretches that recur: any start, length and gap."""
    fresh, tokens, origin = random.sample(SPACED, n_ctx + 24), [BOS], [None]
    while len(tokens) < n_ctx:
        for _ in range(random.randint(4, 24)):
            tokens.append(fresh.pop())
            origin.append(None)
        length = random.randint(4, 40)
        start = random.randint(1, max(1, len(tokens) - length))
        origin += range(start, min(start + length, len(tokens)))
        tokens += tokens[start : start + length]
    return label_repeats(tokens[:n_ctx], origin[:n_ctx])


def label_repeats(tokens, origin):
    """Score a copied token if this token is all that its predecessor was followed by so far."""
    features, scored, after = [{"class": "BOS"}], [False], {}
    for i in range(1, len(tokens)):
        scored.append(origin[i] is not None and after.get(tokens[i - 1]) == {tokens[i]})
        after.setdefault(tokens[i - 1], set()).add(tokens[i])
        known = {"class": "function", "kind": "repeat", "place": i - 1}
        features.append(known | LEXICON.get(tokens[i].strip(), {}))
        features[i] |= {"copy_of": origin[i]} if origin[i] is not None else {}
        features[i] |= {"behaviour": "induction"} if scored[i] else {}
    return Document(tokens, features, [0.0] * len(tokens), scored)
