"""What lesson 00's checks hold answers against: slow loops, and what usual mistakes would give.

Letters: n picture, c class, p pixel.
"""

import torch


def slopes(W, b, pictures, labels):
    """Differentiate the mean cross-entropy one number at a time, by its definition."""
    into_W, into_b = torch.zeros_like(W), torch.zeros_like(b)
    for picture, label in zip(pictures, labels):
        scores = [((W[c] * picture).sum() + b[c]).exp() for c in range(len(b))]
        for c in range(len(b)):
            slope = scores[c] / sum(scores) - (1 if c == label else 0)
            into_W[c] += slope * picture / len(labels)
            into_b[c] += slope / len(labels)
    return into_W, into_b


def slips_of_gradient(W, b, pictures, labels):
    """Say what known mistakes give in place of the two slopes."""
    n, logits = len(labels), pictures @ W.T + b
    shares = logits.softmax(-1)  # [n c]
    hot = (torch.arange(len(b)) == labels[:, None]).double()  # [n c]
    seen = hot[:, : labels.max() + 1]  # [n classes up to the highest label]

    def by(excess):  # [n c] -> what somebody gets who has this as the slope
        return excess.T @ pictures, excess.sum(0)

    return {
        "the label is forgotten: the slope by a logit is the probability, minus 1 for the "
        "label's class": by(shares / n),
        "that is the way down: the slope is probability minus label, not label minus "
        "probability": by((hot - shares) / n),
        "the loss is a mean over the pictures: divide by n": by(shares - hot),
        "that is the mean over pictures and classes: divide by n alone": by(
            (shares - hot) / (n * len(b))
        ),
        "softmax goes over the classes: yours goes over the pictures (dim=-1, not 0)": by(
            (logits.softmax(0) - hot) / n
        ),
        "the biases are missing from the logits": by(((pictures @ W.T).softmax(-1) - hot) / n),
        "the logits were taken for probabilities: softmax is missing": by((logits - hot) / n),
        "one_hot(labels) makes only as many classes as it sees: give it the number, "
        "one_hot(labels, len(b))": by((shares - seen) / n),
        "that takes 1 off the classes of all labels, for every picture: each picture has one label "
        "(p[range(n), labels] -= 1)": by((shares - hot.amax(0)) / n),
    }


def slips_of_change(W, b, picture, winner, c, way):
    """Say what known mistakes give on the way to class c's border."""
    across = W[c] - W[winner]
    length, biases = across.norm(), b[winner] - b[c]
    alone = W[c] * (across @ way) / (W[c] @ W[c])
    return {
        "that is the way to a border, but not the nearest": way,
        f"the sign is turned round: this leads away from class {c}": -way,
        "return the change alone, not the changed picture": picture + way,
        "half way: at the border all of the lead is gone": way / 2,
        "the lead is divided by the length of w_c - w_winner once: so far it is. The direction has "
        "that length too, so it needs to be divided by it once more": way * length,
        "that is the direction: how far along it is the border?": across,
        "the biases are missing from the lead": way - across * biases / length**2,
        f"that is towards class {c}'s template alone: the winner's logit moves too, so the way to "
        "the border is w_c - w_winner": alone,
    }
