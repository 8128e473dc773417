"""minimech: a laboratory for mechanistic interpretability that reads in one sitting.

Reading order: `model` (the transformer), `hooks` (the tap), `cache` (what a run hands back),
`hooked` (the instrument that joins them), `tokens`, `weights`, `world`, `verify`.
"""

HOME = {"ActivationCache": "cache", "HookedTransformer": "hooked", "Tokenizer": "tokens"}
HOME |= {"ModelConfig": "model", "Past": "model"}
__all__ = ["MinimechError", *HOME]


class MinimechError(ValueError):
    """A mistake that the caller can mend: the text names it, what was got, and the way out."""


def __getattr__(name: str):
    """Import a public name when it is first used: `python -m minimech --help` needs no torch."""
    if name not in HOME:
        raise AttributeError(f"module 'minimech' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"minimech.{HOME[name]}"), name)
