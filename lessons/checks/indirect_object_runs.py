"""The usual mistakes of lesson 07 in runs of a model: what is held, what is put where.

A hook pair is (sites, hook), as model.run_with_hooks takes them; at one site they run in order.
"""

Z = "*.hook_z"


# ---- 7.2 path patching ---------------------------------------------------------------------------


def paths(model, tokens, other, layer, head) -> dict:
    """Name the usual mistakes, and what each would give."""
    clean, told = model.run_with_cache(tokens)[1], model.run_with_cache(other)[1]
    put, held = placed(told, layer, head), hold(clean, Z)

    def run(*hooks, on=tokens):
        return model.run_with_hooks(on, fwd_hooks=hooks)

    above = [hold(clean, f"blocks.{n}.attn.hook_z") for n in range(layer + 1, model.cfg.n_layers)]
    wrong = held_wrongly(clean, told, put, above)
    wrong |= {said: [held, one] for said, one in put_wrongly(told, layer, head).items()}
    right, swapped = run(held, put), run(hold(told, Z), placed(clean, layer, head), on=other)
    return {said: run(*hooks) for said, hooks in wrong.items()} | {
        "one head changes: yours changes nothing, for the head itself is held too": run(held),
        "the run is on `tokens`, and the head comes from `other`: yours has the two "
        "swapped": swapped,
        "the run is on `tokens`: yours runs on `other`, and holds the heads at what they said on "
        "`tokens`": run(held, put, on=other),
        "return the run's logits: yours are what changed of them": right - run(),
        "return the logits of all positions, [b p v]: yours are the last one's": right[:, -1],
    }


def held_wrongly(clean, told, put, above) -> dict:
    """Name what may be held that should run, or run that should be held: lists of hook pairs."""
    held, others = hold(clean, Z), "hold every other head at what it said on `tokens`: yours"
    mlps = "MLPs are not held, they react to what they now read: yours"
    norms = "layer norms are not held: yours holds"
    return {
        f"{others} holds none, so later heads pass the change on": [put],
        f"{others} holds them at what they said on `other`": [hold(told, Z), put],
        f"{others} holds what they look at, not what they say": [
            hold(clean, "*.hook_pattern"),
            put,
        ],
        f"{others} leaves those of the next layer free": [*above[1:], put],
        f"{others} holds those of the next layer alone": [*above[:1], put],
        f"{mlps} holds them": [held, hold(clean, "*.hook_mlp_out"), put],
        f"{mlps} puts what they said on `other`": [held, hold(told, "*.hook_mlp_out"), put],
        f"{norms} their scales": [held, hold(clean, "*.hook_scale"), put],
        f"{norms} the last one's scale": [held, hold(clean, "ln_final.hook_scale"), put],
    }


def put_wrongly(told, layer, head) -> dict:
    """Name what may be put in place of one head's z, all others being held: hook pairs."""
    at, axis = (..., head, slice(None)), (slice(None), head)
    one = "one head changes: yours changes"
    place = "put the head's z of `other` in the place of its own: yours"
    return {
        f"{one} all heads of its layer": placed(told, layer),
        f"{one} it in every layer": placed(told, None, head),
        "the head says what it says on `other` at all positions: yours does at the last one "
        "only": placed(told, layer, head, -1),
        "z is [b p h e], heads are axis 2: yours changes a position": edit(
            layer, lambda z, name: into(z, axis, told[name][axis])
        ),
        f"{place} adds it": edit(layer, lambda z, name: into(z, at, z[at] + told[name][at])),
        f"{place} silences the head": edit(layer, lambda z, name: into(z, at, 0)),
    }


def hold(cache, sites):
    """Make a hook pair: what these sites hold is that of a saved run."""
    return sites, lambda activation, hook: cache[hook.name].clone()


def placed(cache, layer=None, head=slice(None), position=slice(None)):
    """Make a hook pair: one head's z is that of a saved run; None and slices mean all of them."""
    where = (slice(None), position, head)
    return edit(layer, lambda z, name: into(z, where, cache[name][where]))


def edit(layer, change):
    """Make a hook pair that changes the z of one layer, or of all."""

    def hook(z, hook):
        return change(z, hook.name) if layer in (None, hook.layer()) else z

    return Z, hook


def into(z, where, value):
    """Return a copy of z with a value put in."""
    z = z.clone()
    z[where] = value
    return z


# ---- 7.5 knock out -------------------------------------------------------------------------------


def knocks(model, tokens, circuit, donor) -> dict:
    """Name the usual mistakes, and what each would give."""
    clean, last = model.run_with_cache(tokens)[1], model.cfg.n_layers - 1

    def keeps(layer, head):
        return (layer, head) in circuit

    def run(keeps=keeps, donor=donor, at=slice(None), hooks=()):
        hook = knocking(keeps, donor, at)
        return model.run_with_hooks(tokens, fwd_hooks=[*hooks, (Z, hook)])

    stays = (
        "MLPs stay, and read what is there now: yours holds them at what they say in a plain run"
    )
    own = (
        "the circuit computes from what it now reads: yours holds it at what it says in a plain run"
    )
    loop = "a hook made in a loop sees the loop's last layer, once it runs: use hook.layer()"
    chosen, said = wrong_choices(circuit, model.cfg.n_heads), wrong_words(clean, donor)
    return {name: run(keeps=one) for name, one in chosen.items()} | {
        **{name: run(donor=one) for name, one in said.items()},
        "knocked out at all positions: yours is at the last one only": run(at=-1),
        own: run(hooks=[hold(clean, Z)]),
        stays: run(hooks=[hold(clean, "*.hook_mlp_out")]),
        "layer norms stay: yours holds their scales": run(hooks=[hold(clean, "*.hook_scale")]),
        loop: run(lambda _, head: keeps(last, head), {layer: donor[last] for layer in donor}),
        "return the logits of all positions, [b p v]: yours are the last one's": run()[:, -1],
    }


def knocking(keeps, donor, at):
    """Make a hook that knocks out, at some positions, what is not kept."""

    def hook(z, hook):
        for head in range(z.shape[2]):
            if not keeps(hook.layer(), head):
                z[:, at, head] = donor[hook.layer()][:, at, head]
        return z

    return hook


def wrong_choices(circuit, n_heads) -> dict:
    """Name which heads may be kept in place of the circuit: functions of layer and head."""
    layers, heads = {layer for layer, _ in circuit}, {head for _, head in circuit}
    whole = {layer for layer in layers if all((layer, head) in circuit for head in range(n_heads))}
    outside, pair = "knock out the heads outside the circuit: yours knocks out", "a head is a pair"
    single = "knock out the heads one by one: yours"
    return {
        f"{outside} the circuit": lambda *at: at not in circuit,
        f"{outside} all": lambda *_: False,
        f"{outside} none": lambda *_: True,
        f"{pair} (layer, head): yours looks for (head, layer)": lambda *at: at[::-1] in circuit,
        f"{pair}: yours keeps this number of head in every layer": lambda _, head: head in heads,
        f"{single} keeps whole layers": lambda layer, _: layer in layers,
        f"{single} replaces a whole layer if one head is not in the circuit": (
            lambda layer, _: layer in whole
        ),
        "a layer has z.shape[2] heads: yours goes through three": (
            lambda layer, head: (layer, head) in circuit or head > 2
        ),
        "knock out the heads in all layers: yours leaves layers without a head of the circuit as "
        "they are": lambda layer, head: (layer, head) in circuit or layer not in layers,
    }


def wrong_words(clean, donor) -> dict:
    """Name what heads may say in place of what the donor holds: other donors."""
    says = "a head that is knocked out says what the donor holds: yours"
    return {
        f"{says} says nothing (0)": {layer: 0 * z for layer, z in donor.items()},
        f"{says} says the donor's mean over prompts": {
            layer: z.mean(0, keepdim=True).expand_as(z) for layer, z in donor.items()
        },
        f"{says} adds that to its own": {
            layer: z + clean[f"blocks.{layer}.attn.hook_z"] for layer, z in donor.items()
        },
        f"{says} asks donor[0] in every layer": {layer: donor[0] for layer in donor},
    }
