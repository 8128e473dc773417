"""Sparse autoencoders: their equations, their training, and what is asked of them.

    autoencoders.py   three kinds, each of them its equations; how one is spliced into a model
    config.py         their settings, and which make none
    store.py          a site's activations on disk, read shuffled, in bounded memory (how they are
                      written: writing.py; in which order: shuffling.py; unchanged? seal.py)
    training.py       what makes an autoencoder good; resume.py: after an interruption;
                      distributed.py: by several processes; devices.py: where, how precisely
    sparse.py         the same step of TopK, several times faster
    files.py          saved and loaded, in the format of the published ones (published.py)
    metrics.py        L0, explained variance, loss recovered, ...
    scores.py         held to the truth: is there a latent for every feature of the world?
    baselines.py      what PCA, the neurons and a random dictionary score
    survey.py         one run of the model, all latents: what dashboards.py (what is one latent
                      about?), effects.py (what does it do?), naming.py and search.py (which latent
                      is about this?) are made from
    shares.py         why some features have a latent; compare.py: several autoencoders at once
    ready.py          an autoencoder for any model: one that ships, or one trained on the spot

At the command line: `python -m lessons.techniques.sae --help`.
"""

from lessons.techniques.sae.autoencoders import SAE
from lessons.techniques.sae.config import Config

__all__ = ["SAE", "Config"]
