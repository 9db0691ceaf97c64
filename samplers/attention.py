"""Looking into a UNet's attention while it runs, and changing it.

Notation: ``N`` rows of the network's batch, ``H`` heads, ``P`` places that attend, ``K`` places or
tokens that are attended to.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from samplers.prior import Prior


@dataclass(frozen=True)
class Site:
    """Where in the network attention happens.

    Attributes:
        name: of the module.
        cross: whether it is the text that is attended to, and not the picture.
        places: P.
    """

    name: str
    cross: bool
    places: int


class AttentionControl:
    """Leaves attention as it is; what a control changes, it overrides."""

    def exposes(self, site: Site) -> bool:
        """Whether :meth:`probabilities` is to see this site; fused attention is cheaper."""
        return True

    def queries_keys(
        self, site: Site, queries: Float[Tensor, "N P D"], keys: Float[Tensor, "N K D"]
    ) -> tuple[Float[Tensor, "N P D"], Float[Tensor, "N K D"]]:
        """Queries and keys to go on with, all heads in D."""
        return queries, keys

    def probabilities(
        self, site: Site, probabilities: Float[Tensor, "N H P K"]
    ) -> Float[Tensor, "N H P K"]:
        """Probabilities to go on with; what comes in is not to be changed in place."""
        return probabilities


def unet_attention(prior: Prior) -> dict[str, Any]:
    """The attention modules of a prior's UNet by name, in the order in which they run.

    Raises:
        ValueError: for a network of another kind, or none.
    """
    network: Any = getattr(prior, "network", None)
    found: dict[str, Any] = {}
    if hasattr(network, "up_blocks"):
        for part in ("down_blocks", "mid_block", "up_blocks"):
            block = getattr(network, part)
            modules = () if block is None else block.named_modules(prefix=part)
            found |= {name: module for name, module in modules if name.endswith(("attn1", "attn2"))}
    if not any(name.endswith("attn2") for name in found):
        raise ValueError(
            "it needs a UNet with cross-attention, such as those of Stable Diffusion 1, 2 and XL"
        )
    return found


def check_uncompiled(prior: Prior, method: str) -> None:
    """Refuses a compiled network, in which hooks that come later do nothing.

    Raises:
        ValueError: saying so.
    """
    if getattr(getattr(prior, "network", None), "_compiled_call_impl", None):
        raise ValueError(
            f"{method} looks into the network as it runs, which a compiled one does not allow: "
            "leave tuning.compile=false"
        )


@contextmanager
def controlled(modules: Mapping[str, Any], control: AttentionControl) -> Iterator[None]:
    """Let ``control`` take part in the attention of diffusers' ``Attention`` modules.

    Whatever processors the modules had compute the same as this one, and are put back in the end.
    A network can be controlled by one at a time.

    Args:
        modules: by name.
        control: sees queries, keys and probabilities inside the ``with`` block.
    """
    processors = {name: module.processor for name, module in modules.items()}
    try:
        for name, module in modules.items():
            module.set_processor(_Processor(name, control))
        yield
    finally:
        for name, module in modules.items():
            module.set_processor(processors[name])


@dataclass(frozen=True)
class _Processor:
    """What diffusers' ``AttnProcessor`` and ``AttnProcessor2_0`` compute, with a control."""

    name: str
    control: AttentionControl

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        x = hidden_states
        if attn.spatial_norm is not None:
            x = attn.spatial_norm(x, temb)
        picture = x.shape[2:]
        if x.ndim == 4:
            x = x.flatten(2).mT
        if attn.group_norm is not None:
            x = attn.group_norm(x.mT).mT
        site = Site(self.name, encoder_hidden_states is not None, x.shape[1])
        attended = x if encoder_hidden_states is None else encoder_hidden_states
        if site.cross and attn.norm_cross:
            attended = attn.norm_encoder_hidden_states(attended)
        queries, keys = self.control.queries_keys(site, attn.to_q(x), attn.to_k(attended))
        x = self._attend(site, attn, queries, keys, attn.to_v(attended), attention_mask)
        for layer in attn.to_out:
            x = layer(x)
        if hidden_states.ndim == 4:
            x = x.mT.unflatten(2, picture)
        if attn.residual_connection:
            x = x + hidden_states
        return x / attn.rescale_output_factor

    def _attend(
        self,
        site: Site,
        attn: Any,
        queries: Float[Tensor, "N P D"],
        keys: Float[Tensor, "N K D"],
        values: Float[Tensor, "N K D_v"],
        attention_mask: Tensor | None,
    ) -> Float[Tensor, "N P D_v"]:
        rows = len(queries)
        q, k, v = (
            x.unflatten(2, (attn.heads, -1)).transpose(1, 2) for x in (queries, keys, values)
        )
        q = q if attn.norm_q is None else attn.norm_q(q)
        k = k if attn.norm_k is None else attn.norm_k(k)
        mask = attn.prepare_attention_mask(attention_mask, keys.shape[1], rows)
        if self.control.exposes(site):
            flat = attn.get_attention_scores(q.flatten(0, 1), k.flatten(0, 1), mask)
            probabilities = flat.unflatten(0, (rows, attn.heads))
            x = self.control.probabilities(site, probabilities).to(v) @ v
        else:
            mask = None if mask is None else mask.unflatten(0, (rows, attn.heads))
            x = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=attn.scale)
        return x.transpose(1, 2).flatten(2)
