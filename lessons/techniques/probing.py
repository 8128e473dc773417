"""Read a feature off activations, and find out whether anybody else does (lesson 08).

A linear probe is a classifier of activations: x @ w + b above 0 says yes. That it is right says
that the feature can be read, by somebody who was shown the answers. Whether the model reads it is
another question, and only an intervention answers it: push the activations along the direction, or
take the feature out, and watch what the model does.

Letters: n token, d width of the activation; b document, p position.
"""

import torch
from torch import Tensor


def mean_difference(x: Tensor, y: Tensor) -> Tensor:  # [n d], [n] -> [d]
    """Return the mean of what is true less the mean of what is not.

    x [n d] are activations, y [n] is True or False of each. The simplest direction of a feature
    there is: nothing is fitted. Its length is the distance between the two classes.
    """
    # exercise 8.1: the difference of means (3 min)
    return x[y].mean(0) - x[~y].mean(0)
    # end


def fit_logistic(x: Tensor, y: Tensor, penalty: float = 1e-3, steps: int = 12):
    """Fit a logistic probe by Newton's method: w [d] and b, a number, both float64.

    x [n d] float64, y [n] True or False. With p = sigmoid(x @ w + b), make small

        mean over n of -log(p if y else 1 - p)  +  penalty / 2 * |w|^2        (b is not penalised)

    Start from zeros. Each step solves H @ step = g and subtracts the step, where g [d+1] is the
    gradient over w and b together and H [d+1 d+1] the matrix of second derivatives. With a 1 put
    behind each x, z [n d+1]: g is the mean of (p - y) z plus the penalty's part, penalty * w; H is
    the mean of p (1 - p) z z^T plus penalty on w's part of the diagonal. A dozen steps do.
    """
    # exercise 8.2: a probe in a dozen steps (15 min)
    z = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)  # [n d+1]
    rest = torch.full_like(z[0], penalty)  # [d+1]
    rest[-1] = 0
    wb = torch.zeros_like(z[0])  # [d+1]
    for _ in range(steps):
        p = (z @ wb).sigmoid()  # [n]
        g = z.T @ (p - y.to(p)) / len(z) + rest * wb
        H = (z * (p * (1 - p))[:, None]).T @ z / len(z) + rest.diag()
        wb = wb - torch.linalg.solve(H, g)
    return wb[:-1], wb[-1]
    # end


def fit_probe(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:  # [n d], [n] -> [d], []
    """Fit a logistic probe of x as it stands, after centring and scaling it: w and b, float32.

    One scale for all dimensions, so that the penalty means the same at every depth and in every
    model; directions stay what they are.
    """
    x = x.double()
    mean, scale = x.mean(0), x.var(0, correction=0).mean().sqrt()
    w, b = fit_logistic((x - mean) / scale, y)
    return (w / scale).float(), (b - mean @ w / scale).float()


def means_probe(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:  # [n d], [n] -> [d], []
    """Make a probe of the difference of means, with the threshold midway between the two."""
    w = mean_difference(x, y)
    return w, -(x[y].mean(0) + x[~y].mean(0)) @ w / 2


def fit_curved(x: Tensor, y: Tensor, width: int = 32, steps: int = 150):  # -> a function of x
    """Fit a probe with one hidden layer, which can read what no straight line separates.

    By Adam (rate 0.01, batches of 256), written out: to import torch.optim takes two seconds.
    """
    torch.manual_seed(0)
    mean, scale = x.mean(0), x.var(0).mean().sqrt()
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], width), torch.nn.ReLU(), torch.nn.Linear(width, 1)
    )
    weights, draw = [*net.parameters()], torch.Generator().manual_seed(0)
    moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]
    for step in range(1, steps + 1):
        rows = torch.randint(len(x), (256,), generator=draw)
        with torch.enable_grad():
            score = net((x[rows] - mean) / scale)[:, 0]
            cost = torch.nn.functional.binary_cross_entropy_with_logits(score, y[rows].float())
            grads = torch.autograd.grad(cost, weights)
        for weight, grad, (first, second) in zip(weights, grads, moments):
            first.lerp_(grad, 0.1)
            second.lerp_(grad**2, 0.001)
            size = (second / (1 - 0.999**step)).sqrt() + 1e-8
            weight.data -= 0.01 * first / (1 - 0.9**step) / size
    return lambda x: net((x - mean) / scale)[:, 0]


def accuracy(x: Tensor, y: Tensor, probe) -> float:  # [n d], [n] -> a share
    """Say of which share of the tokens a probe, (w, b) or a function, says what is true."""
    score = probe(x) if callable(probe) else x @ probe[0] + probe[1]  # [n]
    return ((score > 0) == y).float().mean().item()


def control_labels(types: Tensor, seed: int) -> Tensor:  # [...] -> [...] True or False
    """Toss a coin for each type of word: all its tokens get the one label (a control task).

    types [...] holds whole numbers, the word type of each token. Draw one fair coin for each of
    the numbers 0 to types.max() (torch.Generator with `seed`), and give each token its type's.
    Nothing in the text goes with such a label. A probe that gets it right knows its words by heart.
    Hewitt and Liang 2019, "Designing and Interpreting Probes with Control Tasks", section 2.
    """
    # exercise 8.3: a control task (5 min)
    draw = torch.Generator().manual_seed(seed)
    coin = torch.rand(int(types.max()) + 1, generator=draw) < 0.5  # [type]
    return coin[types]
    # end


def steer(direction: Tensor, length: float, dose: Tensor):
    """Return a hook that pushes activations along a direction, each token by its own dose.

    direction [d] counts as a direction only: it is brought to length 1 first. Token (b, p) of the
    activation [b p d] gets dose[b, p] * length steps along it; where the dose is 0 nothing changes.
    The hook takes (activation, hook) and returns the new activation, leaving the old one as it is.
    """
    # exercise 8.4: push (8 min)
    push = length * direction / direction.norm()  # [d]

    def hook(resid, hook):  # [b p d]
        return resid + dose[..., None] * push

    return hook
    # end


def fit_eraser(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:  # [n d], [n] -> [d], [d]
    """Find write [d] and read [d] of the gentlest edit that leaves no linear probe of y.

    The edit is x - ((x - mean) @ read) write (`erase`). With D the difference of means of y, and C
    the covariance matrix of all x, [d d]: write = D and read = C^-1 D divided by D . C^-1 D. Then
    both classes get one mean, and no linear probe does better than to guess; of all such edits this
    one moves the x least (mean squared distance); the plain projection along D gives them one mean
    too, and moves x further. Work in float64.
    Belrose et al. 2023, "LEACE: Perfect linear concept erasure in closed form", theorem 4.2, for a
    feature that is true or false.
    """
    # exercise 8.5: erase a feature (15 min)
    x = x.double()
    centred, write = x - x.mean(0), mean_difference(x, y)  # [n d], [d]
    read = torch.linalg.solve(centred.T @ centred / len(x), write)  # [d]
    return write, read / (write @ read)
    # end


def erase(x: Tensor, mean: Tensor, write: Tensor, read: Tensor) -> Tensor:  # [... d] -> [... d]
    """Take out of x what `read` reads of it beyond the mean, along `write`.

    With write = read = a direction of length 1 this is the plain projection: what x has along it
    becomes what the mean has.
    """
    mean, write, read = (v.to(x) for v in (mean, write, read))
    return x - ((x - mean) @ read)[..., None] * write


def exchanged(model, prompts: Tensor, twins: Tensor, site: str, position: int) -> Tensor:
    """Run prompts [n p] with the twins' whole vector at one site and position: last logits [n v].

    The twin of a prompt has as many tokens; all that the site holds at the position comes from it.
    """
    other = model.run_with_cache(twins, names_filter=site)[1][site][:, position]  # [n d]

    def hook(resid, hook):  # [n p d]
        resid[:, position] = other
        return resid

    return model.run_with_hooks(prompts, fwd_hooks=[(site, hook)])[:, -1]


def slopes(model, prompts: Tensor, site: str, position: int, right: int, wrong: int) -> Tensor:
    """Return how fast logit `right` less logit `wrong` grows per step at one position: [n d].

    prompts [n p]; the gradient at `site`, at `position`, of the difference at the last token.
    """
    kept = []

    def hook(resid, hook):  # [n p d]
        kept.append(resid.detach().requires_grad_())
        return kept[0]

    with torch.enable_grad():
        logits = model.run_with_hooks(prompts, fwd_hooks=[(site, hook)])[:, -1]
        (grad,) = torch.autograd.grad((logits[:, right] - logits[:, wrong]).sum(), kept)
    return grad[:, position]


def unused_direction(x: Tensor, y: Tensor, gradients: Tensor, keep: int = 8) -> Tensor:
    """Find a direction [d] of length 1 that reads a feature, and that the model does not use.

    x [n d], y [n] as for a probe; gradients [m d]: what a behaviour's change is per step in each
    direction, at m tokens. The result must (1) have next to no part in what the model uses, the
    `keep` directions in which the gradients are largest taken together (the first right singular
    vectors of `gradients`, not centred), and (2) read the feature as well as one can without them:
    mean(x @ u) over y should lie far above that over the others, in units of the spread that x @ u
    has within the classes. Any way to get there is right.
    """
    # exercise 8.6: read, and not used (25 min)
    used = torch.linalg.svd(gradients.double(), full_matrices=True).Vh  # [d d]
    free = used[keep:].T  # [d d-keep], at right angles to what is used
    inside = x.double() @ free  # [n d-keep]
    apart = torch.where(y[:, None], inside - inside[y].mean(0), inside - inside[~y].mean(0))
    within = apart.T @ apart / len(x)  # [d-keep d-keep], the covariance within the classes
    within += 1e-3 * within.diagonal().mean() * torch.eye(len(within), dtype=within.dtype)
    u = free @ torch.linalg.solve(within, mean_difference(inside, y))
    return (u / u.norm()).float()
    # end
