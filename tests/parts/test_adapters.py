"""Adapters against a plain padded BERT in float64, their formulas, and their promises."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from tests.support.tensors import adapter_names, packed, relative
from trivium.errors import RecipeError
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.lora import adapter_state, load_adapter_state
from trivium.parts.adapters import LHUC, AdapterPart, AnyAdapter, Houlsby, LoRA, PALs
from trivium.parts.optim import AdamW, LearningRates
from trivium.types import Tokens

WIDTH, LAYERS, HEADS = 24, 3, 4

TASKS = ("mood", "type")

TOKENS = packed([[1, 2, 3, 4, 5], [6, 7], [8, 9, 10, 11, 12, 13, 14]])


def tiny(*adapters: AdapterPart, seed: int = 0, **changes: Any) -> Encoder:
    """A small encoder in which every parameter matters, those of the adapters too."""
    shape = {
        "vocab_size": 30, "hidden_size": WIDTH, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "intermediate_size": 40, "max_position_embeddings": 16,
    }  # fmt: skip
    torch.manual_seed(seed)
    encoder = Encoder(EncoderConfig.model_validate(shape | changes)).eval()
    for adapter in adapters:
        adapter.attach(encoder, TASKS)
    return randomised(encoder, seed) if adapters else encoder


def randomised(encoder: Encoder, seed: int = 0) -> Encoder:
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in added(encoder).values():
            std = parameter.shape[-1] ** -0.5
            parameter.copy_(std * torch.randn(parameter.shape, generator=generator))
    return encoder


def added(encoder: Encoder) -> dict[str, nn.Parameter]:
    own = dict(encoder.named_parameters())  # `get_parameter` trips over a task called `type`
    return {name: own[name] for name in adapter_names(encoder)}


# --- the reference -----------------------------------------------------------------------------


class Reference:
    """BERT with sides and LoRA, written from the papers on padded texts, in float64."""

    def __init__(self, encoder: Encoder, pals_heads: int = 1, lora_scale: float = 1.0) -> None:
        self.state = {
            name: parameter.detach().double().requires_grad_()
            for name, parameter in encoder.named_parameters()
        }
        self.eps, self.pals_heads, self.scale = (
            encoder.config.layer_norm_eps,
            pals_heads,
            lora_scale,
        )

    def hidden(self, tokens: Tokens, task: str) -> Tensor:
        """hidden_ND of the real tokens."""
        real_RL = torch.arange(tokens.longest) < tokens.lengths_R[:, None]
        ids_RL = torch.zeros(real_RL.shape, dtype=torch.long).masked_scatter(real_RL, tokens.ids_N)
        s = self.state
        x = s["embeddings.word_embeddings.weight"][ids_RL]
        x = x + s["embeddings.position_embeddings.weight"][: tokens.longest]
        x = x + s["embeddings.token_type_embeddings.weight"][0]
        x = self.norm("embeddings.LayerNorm", x)
        for index in range(LAYERS):
            x = self.layer(index, x, real_RL, task)
        return x[real_RL]

    def layer(self, index: int, x: Tensor, real_RL: Tensor, task: str) -> Tensor:
        here = f"encoder.layer.{index}."
        q, k, v = (self.linear(f"{here}attention.self.{n}", x) for n in ("query", "key", "value"))
        update = self.linear(f"{here}attention.output.dense", mha(q, k, v, HEADS, real_RL))
        update = self.within(index, 0, task, update)
        a = self.norm(f"{here}attention.output.LayerNorm", x + update)
        inner = F.gelu(self.linear(f"{here}intermediate.dense", a))
        update = self.within(index, 1, task, self.linear(f"{here}output.dense", inner))
        return self.norm(f"{here}output.LayerNorm", a + update + self.pals(index, task, x, real_RL))

    def pals(self, index: int, task: str, x: Tensor, real_RL: Tensor) -> Tensor:
        here = f"sides.pals.{task}."
        if f"{here}layer.{index}.query.weight" not in self.state:
            return torch.zeros_like(x)
        low = x @ self.state[f"{here}down.weight"].T
        q, k, v = (
            low @ self.state[f"{here}layer.{index}.{name}.weight"].T
            for name in ("query", "key", "value")
        )
        mixed = mha(q, k, v, self.pals_heads, real_RL)
        return F.gelu(mixed @ self.state[f"{here}up.weight"].T)

    def within(self, index: int, half: int, task: str, h: Tensor) -> Tensor:
        here = f"sides.houlsby.{task}.layer.{index}.{half}."
        if f"{here}down.weight" in self.state:
            h = h + self.linear(f"{here}up", F.gelu(self.linear(f"{here}down", h)))
        a = self.state.get(f"sides.lhuc.{task}.layer.{index}.{half}")
        return h if a is None else 2 / (1 + torch.exp(-a)) * h

    def linear(self, name: str, x: Tensor) -> Tensor:
        weight = self.state[f"{name}.weight"]
        if f"{name}.lora.a" in self.state:
            product = self.state[f"{name}.lora.b"] @ self.state[f"{name}.lora.a"]
            weight = weight + self.scale * product
        return F.linear(x, weight, self.state[f"{name}.bias"])

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, self.eps)


def mha(q: Tensor, k: Tensor, v: Tensor, heads: int, real_RL: Tensor) -> Tensor:
    """Attention by its formula, with padding hidden."""
    mixed = []
    for q_h, k_h, v_h in zip(*(z.chunk(heads, dim=-1) for z in (q, k, v)), strict=True):
        scores = q_h @ k_h.transpose(1, 2) / q_h.shape[-1] ** 0.5
        scores = scores.masked_fill(~real_RL[:, None, :], float("-inf"))
        mixed.append(torch.softmax(scores, dim=-1) @ v_h)
    return torch.cat(mixed, dim=-1)


def gradients(hidden_ND: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of one scalar in which every value has its own weight; without what it does not reach."""
    weight = torch.randn(hidden_ND.shape, generator=torch.Generator().manual_seed(0))
    torch.autograd.backward((hidden_ND.float() * weight).sum())
    return {name: p.grad for name, p in parameters.items() if p.grad is not None}


ADAPTERS: dict[str, tuple[AdapterPart, ...]] = {
    "pals": (PALs(size=10, heads=2),),
    "pals beside the top layer": (PALs(size=10, heads=2, top=1),),
    "houlsby": (Houlsby(size=5),),
    "houlsby in the top two": (Houlsby(size=5, top=2),),
    "lhuc": (LHUC(),),
    "lhuc in the top layer": (LHUC(top=1),),
    "lora": (LoRA(rank=3, alpha=6),),
    "lora on query and output": (LoRA(rank=3, alpha=6, on=("query", "output")),),
    "all": (PALs(size=10, heads=2), Houlsby(size=5), LHUC(), LoRA(rank=3, alpha=6)),
    "mixed": (
        PALs(size=10, heads=2, tasks=("type",), top=2),
        Houlsby(size=5, top=1),
        LoRA(rank=3, alpha=6, on=("value", "attention_output", "intermediate")),
    ),
}

EVERY = pytest.mark.parametrize("name", ADAPTERS)


@EVERY
@pytest.mark.parametrize("task", [*TASKS, "", "unknown"])
def test_outputs_and_gradients_are_those_of_the_papers_formulas(name: str, task: str) -> None:
    encoder = tiny(*ADAPTERS[name])
    reference = Reference(encoder, pals_heads=2, lora_scale=2.0)
    found, wanted = encoder.forward(TOKENS, task), reference.hidden(TOKENS, task)
    assert (found - wanted).abs().max() <= 1e-5
    with torch.inference_mode():  # other kernels, LoRA folded
        assert (encoder(TOKENS, task) - wanted).abs().max() <= 1e-5

    ours = gradients(found, dict(encoder.named_parameters()))
    theirs = gradients(wanted, reference.state)
    assert ours.keys() == theirs.keys()
    assert (task in TASKS and f".{task}." in "".join(ours)) == any("sides." in n for n in theirs)
    for parameter, gradient in theirs.items():
        # A key's bias has no true gradient: softmax does not see it.
        scale = theirs[parameter.replace("key.bias", "query.bias")].norm()
        assert (ours[parameter] - gradient).norm() <= 1e-4 * scale, parameter


@EVERY
def test_bf16_stays_close_to_fp32_and_leaves_fp32_gradients(name: str) -> None:
    encoder = tiny(*ADAPTERS[name])
    full = encoder.forward(TOKENS, "type")
    wanted = {k: g.clone() for k, g in gradients(full, dict(encoder.named_parameters())).items()}
    encoder.zero_grad()
    encoder.precision = torch.bfloat16
    low = encoder.forward(TOKENS, "type")
    found = gradients(low, dict(encoder.named_parameters()))
    assert low.dtype == torch.bfloat16
    assert relative(low, full) < 0.03
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}
    assert found.keys() == wanted.keys()
    everything = [torch.cat([*map(torch.ravel, g.values())]) for g in (found, wanted)]
    assert relative(*everything) < 0.1
    with torch.inference_mode():
        assert relative(encoder(TOKENS, "type"), full) < 0.03


@EVERY
def test_gradients_in_float64_agree_with_finite_differences(name: str) -> None:
    encoder = tiny(*ADAPTERS[name]).double()
    encoder.precision = torch.float64
    x_ND = encoder.embed(TOKENS).detach().requires_grad_()
    reached = [p for name, p in added(encoder).items() if ".mood." not in name]

    def loss(*inputs: Tensor) -> Tensor:
        return encoder.encode(inputs[0], TOKENS, "type").sin().sum()

    assert torch.autograd.gradcheck(loss, (x_ND, *reached), fast_mode=True)


# --- starting and training ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "adapter",
    [PALs(zero_start=True), Houlsby(zero_start=True), LHUC(), LoRA()],
    ids=lambda a: a.kind,
)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_start_at_zero_is_exactly_the_pretrained_function_and_learns(
    adapter: AdapterPart, precision: torch.dtype
) -> None:
    plain, encoder = tiny(), tiny()
    adapter.attach(encoder, TASKS)
    plain.precision = encoder.precision = precision
    hidden_ND = encoder.forward(TOKENS, "mood")
    assert torch.equal(hidden_ND, plain.forward(TOKENS, "mood"))
    with torch.inference_mode():
        assert torch.equal(encoder(TOKENS, "mood"), plain(TOKENS, "mood"))
    found = gradients(hidden_ND, dict(encoder.named_parameters()))
    learns = {name for name in added(encoder) if name in found and found[name].any()}
    assert any({"lora": ".lora.", "lhuc": ".0.1"}.get(adapter.kind, ".up.") in n for n in learns)


@pytest.mark.parametrize("adapter", [PALs(), Houlsby()], ids=lambda a: a.kind)
def test_a_fresh_side_starts_near_the_pretrained_function(adapter: AdapterPart) -> None:
    encoder = tiny()
    wanted = encoder.forward(TOKENS)
    adapter.attach(encoder, TASKS)
    found = encoder.forward(TOKENS, "mood")
    assert 0 < relative(found, wanted) < 0.02


@pytest.mark.parametrize("name", [name for name in ADAPTERS if not name.startswith("lora")])
def test_training_one_tasks_side_leaves_the_others_as_they_were(name: str) -> None:
    encoder = tiny(*ADAPTERS[name])
    sides = [(n, p) for n, p in encoder.named_parameters() if n.startswith("sides.")]
    optimizer = AdamW().build(sides, [], LearningRates(encoder=1e-2, heads=1e-2))
    for parameter in encoder.parameters():
        parameter.requires_grad_(any(parameter is p for _, p in sides))
    before = {task: encoder.forward(TOKENS, task).detach() for task in (*TASKS, "")}
    gradients(encoder.forward(TOKENS, "type"), dict(encoder.named_parameters()))
    assert all((p.grad is None) == (".type." not in n) for n, p in sides)
    optimizer.step()
    for task, wanted in before.items():
        assert torch.equal(encoder.forward(TOKENS, task), wanted) == (task != "type")
        with torch.inference_mode():
            assert (relative(encoder(TOKENS, task), wanted) < 1e-5) == (task != "type")


def test_attention_of_pals_drops_in_training_only_and_follows_the_seed() -> None:
    encoder = tiny(PALs(), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.3)
    for module in encoder.encoder.modules():
        if hasattr(module, "dropout"):
            module.__dict__["dropout"] = 0.0  # the base's own, so that only the side's is left

    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return encoder.forward(TOKENS, "mood")

    assert torch.equal(drawn(1), drawn(2))
    encoder.train()
    assert not torch.equal(drawn(1), drawn(2))
    assert torch.equal(drawn(1), drawn(1))


def test_an_encoder_without_adapters_has_the_same_names_and_function() -> None:
    encoder = tiny()
    assert adapter_names(encoder) == []
    assert not any("sides" in name or "lora" in name for name in encoder.state_dict())
    assert torch.equal(encoder.forward(TOKENS, "mood"), encoder.forward(TOKENS))


# --- sizes -------------------------------------------------------------------------------------


BERT_BASE = EncoderConfig()

MINILM = EncoderConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536)


def test_pals_beside_bert_base_are_those_of_the_paper() -> None:
    assert PALs().shape(768) == (204, 12)
    assert PALs().count(BERT_BASE, ["one"]) == 2 * 204 * 768 + 12 * 3 * 204**2 == 1_811_520


@pytest.mark.parametrize(
    ("part", "width", "shape"),
    [
        (PALs(), 384, (102, 6)),
        (PALs(), 1024, (272, 16)),
        (PALs(), 128, (34, 2)),
        (PALs(), 24, (17, 1)),
        (PALs(heads=3), 384, (51, 3)),
        (PALs(size=30), 384, (30, 6)),
        (PALs(size=326, heads=2), 768, (326, 2)),
    ],
)
def test_size_and_heads_of_pals_follow_the_encoders_width(
    part: PALs, width: int, shape: tuple[int, int]
) -> None:
    assert part.shape(width) == shape


@pytest.mark.parametrize(
    "part",
    [
        PALs(), PALs(size=12, heads=3, top=2), PALs(tasks=("type",)), Houlsby(), Houlsby(top=1),
        Houlsby(size=3, tasks=("mood",)), LoRA(rank=2), LoRA(rank=5, on=("output", "query")),
        LoRA(rank=2, on=("intermediate", "attention_output", "pooler")), LHUC(),
        LHUC(tasks=("mood",), top=2),
    ],
)  # fmt: skip
def test_count_is_what_attach_adds(part: AdapterPart) -> None:
    encoder = tiny()
    before = sum(p.numel() for p in encoder.parameters())
    wanted = part.count(encoder.config, TASKS)
    part.attach(encoder, TASKS)
    found = sum(parameter.numel() for parameter in added(encoder).values())
    assert found == wanted == sum(p.numel() for p in encoder.parameters()) - before


def test_count_of_houlsby_and_lora_by_hand() -> None:
    assert Houlsby().count(BERT_BASE, ["a", "b"]) == 2 * 12 * 2 * (2 * 64 * 768 + 64 + 768)
    each = 4 * 2 * 384 + 2 * (384 + 1536)
    assert LoRA(rank=2).count(MINILM, ["a", "b"]) == 2 * 6 * each
    assert LHUC(top=4).count(MINILM, ["a", "b"]) == 2 * 4 * 2 * 384


def test_an_amplitude_of_lhuc_by_hand() -> None:
    side = LHUC(top=1).build(tiny().config)
    with torch.no_grad():
        side.get_parameter("layer.2.1").copy_(math.log(3) * torch.ones(WIDTH))  # sigmoid 3/4
    h_ND = torch.randn(2, WIDTH)
    torch.testing.assert_close(side.within(2, 1, h_ND), 1.5 * h_ND)
    assert torch.equal(side.within(2, 0, h_ND), h_ND)
    assert torch.equal(side.within(1, 1, h_ND), h_ND), "below the top there is none"


# --- settings ----------------------------------------------------------------------------------


def attached(part: AdapterPart, tasks: Sequence[str] = TASKS) -> Encoder:
    encoder = tiny()
    part.attach(encoder, tasks)
    return encoder


def test_a_size_that_its_heads_do_not_divide_is_refused_with_sizes_that_fit() -> None:
    with pytest.raises(ValidationError, match=r"326 is not a multiple of 12 heads; .*324 or 336"):
        PALs(size=326, heads=12)
    with pytest.raises(RecipeError, match="size 326 is not a multiple of 12 heads"):
        PALs(size=326).count(BERT_BASE, TASKS)


@pytest.mark.parametrize("part", [PALs(top=4), Houlsby(top=4), LHUC(top=4)], ids=lambda a: a.kind)
def test_more_layers_than_there_are_is_refused(part: AdapterPart) -> None:
    for action in (lambda: attached(part), lambda: part.count(tiny().config, TASKS)):
        with pytest.raises(RecipeError, match=f"{part.kind}: top is 4, but the encoder has 3"):
            action()


@pytest.mark.parametrize(
    "part", [PALs(tasks=("mod",)), Houlsby(tasks=("mod",)), LHUC(tasks=("mod",))]
)
def test_unknown_task_is_refused_with_the_nearest_one(part: AdapterPart) -> None:
    with pytest.raises(RecipeError, match="no task 'mod'; did you mean 'mood'"):
        attached(part)


@pytest.mark.parametrize("part", [PALs(), Houlsby(), LHUC(), LoRA()], ids=lambda a: a.kind)
def test_the_same_adapter_twice_is_refused(part: AdapterPart) -> None:
    with pytest.raises(RecipeError, match="leave one out"):
        part.attach(attached(part), TASKS)


def test_pals_of_two_sizes_stand_beside_each_other_for_different_tasks() -> None:
    encoder = attached(PALs(size=6, heads=1, tasks=("mood",)))
    PALs(size=8, heads=2, tasks=("type",)).attach(encoder, TASKS)
    assert added(encoder)["sides.pals.mood.down.weight"].shape == (6, WIDTH)
    assert added(encoder)["sides.pals.type.down.weight"].shape == (8, WIDTH)


def test_lora_refuses_a_pooler_that_is_not_there_and_a_layer_named_twice() -> None:
    with pytest.raises(RecipeError, match="no pooler"):
        LoRA(on=("pooler",)).attach(tiny(has_pooler=False), TASKS)
    with pytest.raises(ValidationError, match="names a layer twice"):
        LoRA(on=("query", "query"))


def test_a_recipes_words_become_adapters() -> None:
    read = TypeAdapter[AdapterPart](AnyAdapter).validate_python
    assert read({"kind": "pals", "top": 6}) == PALs(top=6)
    assert read({"kind": "houlsby"}) == Houlsby()
    assert read({"kind": "lora", "on": ["query", "value"]}) == LoRA(on=("query", "value"))
    for part in (PALs(), Houlsby(), LHUC(top=1), LoRA(rank=2)):
        assert read(part.model_dump(mode="json")) == part


def test_lora_freezes_the_base_and_is_shared_unless_told_otherwise() -> None:
    assert (LoRA().freezes_base, LoRA().shared) == (True, True)
    assert not LoRA(freeze_base=False).freezes_base
    for part in (PALs(), Houlsby(), LHUC()):
        assert (part.freezes_base, part.shared) == (False, False)
    assert Houlsby(freeze_base=True).freezes_base


def test_new_parameters_follow_the_seed_the_device_and_the_mode_of_the_encoder() -> None:
    for part in (PALs(), Houlsby(), LHUC(), LoRA()):
        first, second = attached(part), attached(part)
        for name, tensor in adapter_state(first).items():
            assert torch.equal(tensor, adapter_state(second)[name])
        assert not any(module.training for module in first.modules())
        with torch.device("meta"):
            empty = Encoder(tiny().config)
        part.attach(empty, TASKS)
        assert {p.device.type for p in empty.parameters()} == {"meta"}


# --- as tensors --------------------------------------------------------------------------------


@EVERY
def test_adapters_tensors_carry_over_to_another_encoder(name: str) -> None:
    source, target = tiny(*ADAPTERS[name], seed=1), tiny(*ADAPTERS[name], seed=2)
    tensors = adapter_state(source)
    assert list(tensors) == adapter_names(source)
    load_adapter_state(target, {key: value.clone() for key, value in tensors.items()})
    target.load_state_dict({**target.state_dict(), **tiny(seed=1).state_dict()})
    for task in (*TASKS, ""):
        assert torch.equal(target.forward(TOKENS, task), source.forward(TOKENS, task))


def test_adapters_tensors_that_do_not_fit_are_refused_by_name() -> None:
    encoder = tiny(PALs())
    tensors = adapter_state(encoder)
    key = "sides.pals.type.up.weight"
    for changed, problem in (
        ({k: v for k, v in tensors.items() if k != key}, f"{key} is missing"),
        (tensors | {"sides.pals.x": torch.zeros(1)}, r"sides.pals.x has no place"),
        (tensors | {key: torch.zeros(2, 3)}, rf"{key} has shape \[2, 3\]"),
    ):
        with pytest.raises(RecipeError, match=problem):
            load_adapter_state(encoder, changed)
