"""The layers' kernels against formulas in double precision, on whatever device they run."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.tensors import relative
from trivium.model.attention import Stream, attention, layout
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.fused import launch
from trivium.model.fused.launch import Dropout, Norm, Normed, Part, Sums, Told
from trivium.model.fused.layer import How, Parameters
from trivium.model.fused.layers import encode, parameters_of

ROUNDED, ADDED = 6e-3, 2e-5
"""How far numbers in bf16, and sums in fp32, may be from those in double precision."""
EPS = 1e-12


def noise(*shape: int, seed: int, device: torch.device) -> Tensor:
    """In bf16, as the kernels read it."""
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return drawn.to(device, torch.bfloat16)


def dropout(p: float, device: torch.device, *, seed: int = 11, place: int = 3) -> Dropout:
    return Dropout(p, torch.tensor([seed * 2**40 + 7], device=device), place)


def kept(given: Dropout, tokens: int, width: int) -> Tensor:
    """What the kernels multiply with, as the way back has it: 0 or 1 / (1 - p), float64."""
    device = given.seed.device
    if not given.p:
        return torch.ones(tokens, width, dtype=torch.float64)
    x_ND, zero_ND, grad_ND = (noise(tokens, width, seed=s, device=device) for s in range(3))
    weight_D = torch.ones(width, device=device)
    norm = Norm(weight_D, weight_D, EPS)
    _, moments = launch.norm(x_ND, zero_ND, norm, given)
    sums = Sums(tokens, [3 * width], device)
    whole_ND, left_ND = launch.norm_back(
        grad_ND, Normed(x_ND, zero_ND, weight_D, given, moments), sums.parts[0]
    )
    assert bool((whole_ND != 0).double().mean() > 0.99)
    return (left_ND != 0).cpu().double() / (1 - given.p)


def check_norm(tokens: int, width: int, given: Dropout) -> None:
    """Forward, and every gradient."""
    device = given.seed.device
    update_ND, residual_ND, grad_ND = (
        noise(tokens, width, seed=seed, device=device) for seed in (1, 2, 3)
    )
    weight_D, bias_D = (noise(width, seed=seed, device=device).float() for seed in (4, 5))
    out_ND, moments = launch.norm(update_ND, residual_ND, Norm(weight_D, bias_D, EPS), given)
    sums = Sums(tokens, [5, 3 * width, 2], device)  # beside those of others
    back = Normed(update_ND, residual_ND, weight_D, given, moments)
    found = launch.norm_back(grad_ND, back, sums.parts[1])
    added = sums.added()[1].chunk(3)

    leaves = [
        each.cpu().double().requires_grad_() for each in (residual_ND, update_ND, weight_D, bias_D)
    ]
    x_ND = leaves[0] + leaves[1] * kept(given, tokens, width)
    wanted_ND = F.layer_norm(x_ND, (width,), leaves[2], leaves[3], EPS)
    wanted = torch.autograd.grad(wanted_ND, leaves, grad_ND.cpu().double())
    assert relative(out_ND.cpu(), wanted_ND) < ROUNDED
    assert relative(found[0].cpu(), wanted[0]) < ROUNDED
    assert relative(found[1].cpu(), wanted[1]) < ROUNDED
    assert relative(added[0].cpu(), wanted[2]) < ADDED
    assert relative(added[1].cpu(), wanted[3]) < ADDED
    # In a sum over many rows most of it cancels.
    assert float((added[2].cpu() - wanted[1].sum(0)).abs().max()) < ADDED * tokens


def check_gelu(tokens: int, width: int, device: torch.device) -> None:
    x_NC, grad_NC = (3 * noise(tokens, width, seed=seed, device=device) for seed in (6, 7))
    leaf = x_NC.cpu().double().requires_grad_()
    (wanted_NC,) = torch.autograd.grad(F.gelu(leaf), leaf, grad_NC.cpu().double())
    sums = Sums(tokens, [width, 3], device)
    found_NC = launch.gelu_back_(grad_NC, x_NC, sums.parts[0])
    assert found_NC is grad_NC
    assert relative(found_NC.cpu(), wanted_NC) < ROUNDED
    assert relative(sums.added()[0].cpu(), wanted_NC.sum(0)) < ADDED


def check_beside(tokens: int, width: int, device: torch.device) -> None:
    q, k, v = (noise(tokens, width, seed=seed, device=device) for seed in (8, 9, 10))
    sums = Sums(tokens, [1, 3 * width], device)
    found_N3D = launch.beside((q, k, v), sums.parts[1])
    assert torch.equal(found_N3D, torch.cat([q, k, v], 1))
    assert relative(sums.added()[1].cpu(), found_N3D.cpu().double().sum(0)) < ADDED


# --- attention of short texts ------------------------------------------------------------------


def kept_weights(told: Told, width: int) -> list[Tensor]:
    """For each text what its weights are multiplied with in each head, [H, n, n], float64."""
    lengths, heads, p = told.stream.lengths_R.tolist(), told.heads, told.dropout.p
    device, size = told.stream.starts.device, width // told.heads
    found = [torch.zeros(heads, n, n, dtype=torch.float64) for n in lengths]
    for first in range(0, max(lengths), size):  # so many weights can be seen in a row at a time
        seen = torch.zeros(sum(lengths), heads, size)
        for begin, n in zip(_starts(lengths), lengths, strict=True):
            for place in range(first, min(n, first + size)):
                seen[begin + place, :, place - first] = 1.0
        none_ND = torch.zeros(sum(lengths), 2 * width)
        qkv_N3D = torch.cat([none_ND, seen.flatten(1)], 1).to(device, _low(device))
        mixed = launch.attend(qkv_N3D, told).cpu().view(-1, heads, size)
        for text, (begin, n) in enumerate(zip(_starts(lengths), lengths, strict=True)):
            own = (mixed[begin : begin + n] != 0).double().transpose(0, 1) / (1 - p)
            last = min(n, first + size)
            found[text][:, :, first:last] = own[:, :, : max(0, last - first)]
    return found


def check_short(lengths: Sequence[int], heads: int, size: int, given: Dropout) -> None:
    """Attention there and back."""
    device, width, tokens = given.seed.device, heads * size, sum(lengths)
    stream = Stream.of(torch.tensor(lengths, device=device), max(lengths))
    told = Told(stream, heads, given)
    qkv_N3D = noise(tokens, 3 * width, seed=1, device=device).to(_low(device))
    grad_ND = noise(tokens, width, seed=2, device=device).to(_low(device))
    sums = Sums(tokens, [2, 3 * width], device)
    mixed_ND = launch.attend(qkv_N3D, told)
    back_N3D = launch.attend_back(grad_ND, qkv_N3D, told, sums.parts[1])
    leaf = qkv_N3D.cpu().double().requires_grad_()
    texts = []
    for rows, factor in zip(
        torch.split(leaf, list(lengths)), kept_weights(told, width), strict=True
    ):
        q, k, v = rows.view(-1, 3, heads, size).permute(1, 2, 0, 3)
        weights = torch.softmax(q @ k.transpose(1, 2) * size**-0.5, -1) * factor
        texts.append((weights @ v).transpose(0, 1).flatten(1))
    wanted_ND = torch.cat(texts)
    (wanted,) = torch.autograd.grad(wanted_ND, leaf, grad_ND.cpu().double())
    assert relative(mixed_ND.cpu(), wanted_ND) < 1.5 * ROUNDED  # weights are rounded, too
    for found, one in zip(back_N3D.cpu().chunk(3, 1), wanted.chunk(3, 1), strict=True):
        assert float((found.double() - one).norm()) < 2 * ROUNDED * float(wanted.norm())
    # The sums are those of the gradients before they are rounded.
    apart = sums.added()[1].cpu() - back_N3D.cpu().double().sum(0)
    assert float(apart.abs().max()) < ROUNDED * tokens**0.5 * float(wanted.abs().max())


def _low(device: torch.device) -> torch.dtype:
    """Triton's interpreter (3.6) takes the bits of bf16 in a product for whole numbers."""
    return torch.float16 if device.type == "cpu" else torch.bfloat16


def _starts(lengths: Sequence[int]) -> list[int]:
    return [sum(lengths[:place]) for place in range(len(lengths))]


# --- whole layers ------------------------------------------------------------------------------


class OnCpu:
    """Attention as a CPU has it, in the place of `flash`. It drops nothing."""

    def forward(self, qkv_N3D: Tensor, told: Told) -> tuple[Tensor, ...]:
        return (attention(qkv_N3D, layout(told.stream.lengths_R), told.heads, 0.0),)

    def backward(
        self, grad_ND: Tensor, qkv_N3D: Tensor, mixed: Sequence[Tensor], told: Told, sums: Part
    ) -> Tensor:
        del mixed
        leaf = qkv_N3D.detach().requires_grad_()
        with torch.enable_grad():
            mixed_ND = attention(leaf, layout(told.stream.lengths_R), told.heads, 0.0)
        q, k, v = torch.autograd.grad(mixed_ND, leaf, grad_ND)[0].chunk(3, 1)
        return launch.beside((q.contiguous(), k.contiguous(), v.contiguous()), sums)


def random_encoder(
    width: int, heads: int, inner: int, *, p: float = 0.0, attention_p: float = 0.0, layers: int = 2
) -> Encoder:
    """In which every parameter matters."""
    torch.manual_seed(0)
    made = Encoder(
        EncoderConfig(
            vocab_size=60, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=inner, max_position_embeddings=64, hidden_dropout_prob=p,
            attention_probs_dropout_prob=attention_p,
        )
    )  # fmt: skip
    for name, parameter in made.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 1.0 if "LayerNorm.weight" in name else 0.0, 0.3)
    return made


def check_layers(encoder: Encoder, lengths: Sequence[int], how: How) -> None:
    """Hidden vectors, and the gradients of the input and of every parameter."""
    device = encoder.embeddings.word_embeddings.weight.device
    tokens, width = sum(lengths), encoder.config.hidden_size
    x_ND = noise(tokens, width, seed=1, device=device).requires_grad_()
    grad_ND = noise(tokens, width, seed=2, device=device)
    layers = [layer.modules_of() for layer in encoder.encoder.layers]
    stream = Stream.of(torch.tensor(lengths, device=device), max(lengths))
    parameters = [p for layer in layers for p in parameters_of(layer)]
    seeds = _seeds(device)
    hidden_ND = encode(x_ND, stream, layers, how)
    found = torch.autograd.grad(hidden_ND, [x_ND, *parameters], grad_ND)

    leaves = [p.detach().cpu().double().requires_grad_() for p in (x_ND, *parameters)]
    wanted_ND, size = leaves[0], len(Parameters._fields)
    for place in range(len(layers)):
        own = Parameters(*leaves[1 + size * place : 1 + size * (place + 1)])
        masks = [kept(Dropout(how.p, seeds, 3 * place + half), tokens, width) for half in (0, 1)]
        wanted_ND = _layer(wanted_ND, own, torch.tensor(lengths), how, masks)
    wanted = torch.autograd.grad(wanted_ND, leaves, grad_ND.cpu().double())
    assert relative(hidden_ND.cpu(), wanted_ND) < 2e-2
    names = ["x", *(name for _ in layers for name in Parameters._fields)]
    for name, one, other in zip(names, found, wanted, strict=True):
        if name != "key_bias":  # scores do not change with it: its gradient is rounding
            assert one.dtype == (torch.bfloat16 if name == "x" else torch.float32), name
            assert relative(one.cpu(), other) < 5e-2, name


def _seeds(device: torch.device) -> Tensor:
    """What the next pass will draw."""
    torch.manual_seed(5)
    drawn = torch.empty(1, dtype=torch.int64, device=device).random_()
    torch.manual_seed(5)
    return drawn


def _layer(
    x_ND: Tensor, by: Parameters, lengths_R: Tensor, how: How, masks: Sequence[Tensor]
) -> Tensor:
    """As BERT has it (Devlin et al. 2019), in double precision."""
    width = x_ND.shape[1]
    qkv = [
        F.linear(x_ND, weight, bias)
        for weight, bias in zip(by[:3], (by.query_bias, by.key_bias, by.value_bias), strict=True)
    ]
    mixed_ND = attention(torch.cat(qkv, 1), layout(lengths_R), how.heads, 0.0)
    update_ND = F.linear(mixed_ND, by.mixed, by.mixed_bias) * masks[0]
    norm = (by.mixed_norm, by.mixed_norm_bias, how.eps)
    x_ND = F.layer_norm(x_ND + update_ND, (width,), *norm)
    inner_NI = F.gelu(F.linear(x_ND, by.inner, by.inner_bias))
    update_ND = F.linear(inner_NI, by.outer, by.outer_bias) * masks[1]
    norm = (by.outer_norm, by.outer_norm_bias, how.eps)
    return F.layer_norm(x_ND + update_ND, (width,), *norm)
