"""Direct inversion (Ju et al. 2024, "PnP Inversion") with Prompt-to-Prompt, as its authors do."""

from typing import Any

from samplers.p2p import P2P
from samplers.prior import Prior


class DirectInversion(P2P):
    """Prompt-to-Prompt whose source branch follows the inverted trajectory exactly.

    After every step the source's branch is set back to where the inversion was, and the target's
    is left as it is, so that guidance does not lead the source astray. Its reconstruction is exact.

    The fractions and the kind of edit are those of the authors' code.

    Args:
        prior: see :class:`samplers.p2p.P2P`, as everything else.
        edit: see there.
        cross_replace: see there.
        self_replace: see there.
    """

    inverts_with: tuple[str, ...] = ("steps",)

    def __init__(
        self,
        prior: Prior,
        *,
        edit: str = "refine",
        cross_replace: float | int = 0.4,
        self_replace: float | int = 0.6,
        **options: Any,
    ) -> None:
        super().__init__(
            prior,
            inverter="direct",
            edit=edit,
            cross_replace=cross_replace,
            self_replace=self_replace,
            **options,
        )
