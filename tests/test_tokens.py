"""Text in and out, generation, and what a user reads when a prompt is wrong."""

import warnings

import pytest
import tokenizers
import torch
from safetensors.torch import load_file

from minimech import HookedTransformer, MinimechError, ModelConfig, Tokenizer
from minimech.tokens import PAD, at_end
from minimech.weights import load
from tests.checkpoints import SEEDS, TINY, TINY_UNTIED, write_checkpoint

TEXT = "<|endoftext|> When John Mary and , to . the store gave a drink went park Alice"
WORDS = TEXT.split()
PROMPT = "When John and Mary went to the store, John gave a drink to"


@pytest.fixture(scope="module")
def model() -> HookedTransformer:
    """Return a random model with a vocabulary of whole words, split as GPT-2 splits."""
    vocab = [WORDS[0], *WORDS[1:3], *[f"Ġ{word}" for word in WORDS[1:]], ",", "."]
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(dict.fromkeys(vocab))})
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    torch.manual_seed(5)
    cfg = ModelConfig(2, 2, 16, n_ctx=20, d_vocab=backend.get_vocab_size())
    model = HookedTransformer(cfg, Tokenizer(backend)).requires_grad_(False)
    for weight in model.parameters():
        weight.normal_(std=0.5)
    return model


def test_text_and_tokens(model):
    tokens = model.to_tokens(PROMPT)
    assert tokens.shape == (1, 15) and tokens[0, 0] == 0
    strings = model.to_str_tokens(PROMPT)
    assert (
        strings[:4] == ["<|endoftext|>", "When", " John", " and"] and "".join(strings[1:]) == PROMPT
    )
    assert model.to_str_tokens(PROMPT, prepend_bos=False) == strings[1:]
    assert model.to_string(tokens[0, 1:]) == PROMPT and model.to_string(tokens)[0].endswith(PROMPT)
    assert model.to_single_token(" Mary") == tokens[0, 4]
    assert model.to_string(model.to_single_token(" Mary")) == " Mary"
    assert torch.equal(model(PROMPT), model(tokens)) and torch.equal(
        model(tokens[0]), model(tokens)
    )
    assert torch.equal(model(tokens.tolist()), model(tokens))
    assert torch.equal(model(tokens.numpy()), model(tokens))


def test_texts_of_different_length_are_each_as_if_alone(model):
    texts = [PROMPT, "When Mary went", "When John"]
    tokens = model.to_tokens(texts)
    assert (tokens == PAD).sum(1).tolist() == [0, 11, 12]
    ends = at_end(model(texts), tokens)
    alone = torch.cat([model(text)[:, -1] for text in texts])
    assert (ends - alone).abs().max() < 1e-5
    assert model.to_str_tokens(texts)[2] == ["<|endoftext|>", "When", " John"]
    assert model.to_string(tokens)[1] == "<|endoftext|>When Mary went"
    assert model.generate(texts, 3) == [model.generate(text, 3) for text in texts]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "the prompt is empty"),
        ([], "the prompt is empty"),
        (["When John", ""], "the prompt is empty"),
        (torch.zeros(0, dtype=torch.long), "the prompt is empty"),
        (torch.zeros(1, 0, dtype=torch.long), "the prompt is empty"),
        ("When Jon went", "' Jon' is not among this model's .* words.*Did you mean ' John'"),
        ("When zebras fly", "' zebras' is not among .* words .nor 1 more"),
        (PROMPT + " the" * 6, r"\d+ tokens do not fit: this model has room for 20"),
        (torch.tensor([[0, 99]]), r"token id 99 \(prompt 0, position 1\) .* ids go from 0 to 19"),
        (torch.tensor([[0, -2]]), "token id -2"),
        (torch.tensor([[0.0, 1.0]]), "token ids must be integers, not torch.float32"),
        (torch.ones(1, 3, dtype=torch.bool), "token ids must be integers, not torch.bool"),
        (torch.zeros(1, 1, 3, dtype=torch.long), r"\[batch position\]; got shape \[1, 1, 3\]"),
        (torch.tensor(3), r"got shape \[\]"),
        (torch.tensor([[0, PAD, 1]]), "padding goes on the right"),
        ([[0, 1], [0]], "a prompt is a text, texts, or token ids; got list"),
        (None, "a prompt is a text, texts, or token ids; got NoneType"),
        (["When", 3], "a prompt is a text, texts, or token ids; got list"),
    ],
)
def test_a_wrong_prompt_is_named(model, prompt, message):
    for run in (model, model.run_with_cache, model.generate):
        with pytest.raises(MinimechError, match=message):
            run(prompt)


def test_other_mistakes_are_named(model):
    with pytest.raises(MinimechError, match=r"'Mary' is not among.*Did you mean ' Mary'"):
        model.to_single_token("Mary")
    with pytest.raises(MinimechError, match=r"' John Mary' is 2 tokens, \[' John', ' Mary'\]"):
        model.to_single_token(" John Mary")
    with pytest.raises(MinimechError, match="return_type is 'logits', 'loss' or 'both', not 'lo"):
        model(PROMPT, return_type="logit")
    with pytest.raises(MinimechError, match="a loss needs two tokens"):
        model(torch.tensor([[0]]), return_type="loss")
    with pytest.raises(MinimechError, match="'unnamed' came without a tokenizer; pass token ids"):
        HookedTransformer(ModelConfig(1, 1, 4, n_ctx=4, d_vocab=9))("When")
    with pytest.raises(MinimechError, match="at most 5 new ones do"):
        model.generate(PROMPT, 50)
    for wrong in ({"temperature": -1}, {"top_k": 0}, {"max_new_tokens": 0}):
        with pytest.raises(MinimechError, match="generate needs"):
            model.generate(PROMPT, **wrong)
    with pytest.raises(MinimechError, match="pass a list of texts"):
        model.generate(torch.tensor([[0, 1], [0, PAD]]))
    with (
        pytest.warns(UserWarning, match="the prompt ends in a space"),
        pytest.raises(MinimechError),
    ):
        model("When John ")


def test_greedy_generation_equals_hugging_face(tmp_path):
    for name, config in (("tiny_tied", TINY), ("tiny_untied", TINY_UNTIED)):
        model = load(write_checkpoint(tmp_path / name, config, SEEDS[name]))
        stored = load_file(f"tests/reference/{name}_greedy.safetensors")
        for reuse in (True, False):
            tokens = model.generate(stored["prompts"], 20, use_past_kv_cache=reuse)
            assert torch.equal(tokens, stored["tokens"])


def test_sampling_is_seeded_and_follows_the_distribution(model):
    def sample(**how):
        return model.generate(tokens, 1, stop_at_eos=False, **how)[:, -1]

    tokens = model.to_tokens("When John").expand(4000, -1)
    one = sample(temperature=0.7, seed=3)
    assert torch.equal(one, sample(temperature=0.7, seed=3))
    assert not torch.equal(one, sample(temperature=0.7, seed=4))
    probability = (model("When John")[0, -1] / 0.7).softmax(-1)
    share = one.bincount(minlength=19) / 4000
    assert (share - probability).abs().max() < 0.04
    assert len(sample(temperature=5.0, top_k=2, seed=0).unique()) == 2
    assert torch.equal(sample(temperature=0.0), sample(temperature=1.0, top_k=1))


def test_steered_generation_is_the_same_with_and_without_reuse(model):
    direction = 20 * model.W_U[:, model.to_single_token(" park")]

    def steer(resid, hook):
        return resid + direction

    hooks = [("blocks.0.hook_resid_post", steer)]
    texts = [
        model.generate("When John", 8, use_past_kv_cache=reuse, fwd_hooks=hooks, stop_at_eos=False)
        for reuse in (True, False)
    ]
    assert texts[0] == texts[1] != model.generate("When John", 8, stop_at_eos=False)


def test_generation_stops_at_the_end_of_text(model):
    def end(logits, hook):
        logits[:, -1, 0] = 1e4

    hooks = [("unembed.hook_out", end)]
    assert model.generate("When John", 8, fwd_hooks=hooks) == "When John<|endoftext|>"
    tokens = model.generate(model.to_tokens(["When John", "When Mary"]), 8, fwd_hooks=hooks)
    assert tokens.shape == (2, 4)


def test_gpt2_tokenizer_splits_as_published(shared):
    tokenizer = Tokenizer.from_folder(shared / "tokenizer")
    assert tokenizer.bos == 50256
    for text, ids in [
        ("Hello world!", [15496, 995, 0]),
        ("Data visualization empowers users to", [6601, 32704, 795, 30132, 2985, 284]),
        ("Alan Turing theorized that", [36235, 39141, 18765, 1143, 326]),
        ("Hello<|endoftext|>", [15496, 50256]),
        ("naïve 日本 🙂\n\n", None),
    ]:
        got = tokenizer.encode(text)
        assert ids is None or got == ids
        assert tokenizer.decode(got) == text


def test_no_tokenizer_and_a_broken_one(tmp_path):
    assert Tokenizer.from_folder(tmp_path) is None
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(MinimechError, match=r"the tokenizer in .* cannot be read"):
        Tokenizer.from_folder(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (tmp_path / "tokenizer.json").unlink()
        assert Tokenizer.from_folder(str(tmp_path)) is None


def test_hooks_that_can_be_read_once_serve_every_step(model):
    fired = []
    hooks = (pair for pair in [("hook_embed", lambda x, hook: fired.append(hook.start))])
    model.generate("When John", 4, fwd_hooks=hooks, stop_at_eos=False)
    assert fired == [0, 3, 4, 5]


def test_a_tokenizer_file_that_cuts_or_pads_does_neither_here(model):
    backend = tokenizers.Tokenizer.from_str(model.tokenizer.backend.to_str())
    backend.enable_truncation(6)
    backend.enable_padding(length=32, pad_id=0, direction="left")
    assert Tokenizer(backend).encode(PROMPT) == model.tokenizer.encode(PROMPT)


def test_a_tokenizer_without_bos_says_so(model):
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}))
    one = HookedTransformer(ModelConfig(1, 1, 4, n_ctx=4, d_vocab=9), Tokenizer(backend))
    with pytest.raises(MinimechError, match="has no BOS token; pass prepend_bos=False"):
        one("a")
    assert one("a", prepend_bos=False).shape == (1, 1, 9)


def test_small_integers_are_token_ids_too(model):
    tokens = model.to_tokens("When John")
    assert torch.equal(model(tokens.to(torch.uint8)), model(tokens))
