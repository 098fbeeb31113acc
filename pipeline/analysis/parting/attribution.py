"""One token after which the models part: the KL as a function of what IT has at the hook point.

With h the IT model's rows up to the token, g those of the base model, and K(x) the KL(IT || base)
of the next token when IT goes on from rows x, a part c of the difference h - g has the attribution

    A(c) = sum_t <c_t, G_t>,    G = 1/n sum_i grad K(g + (i - 1/2) / n (h - g)),  i = 1 ... n,

to first order what undoing c takes from K. The gradient at h alone (attribution patching: Nanda
2023, "Attribution Patching: Activation Patching At Industrial Scale"; Syed, Rager and Conmy 2023,
arXiv 2310.10348) vanishes where IT is sure of its next token, which is where a planted reply shows;
its mean along the straight path from g to h does not, and its attributions of all of h - g add up
to K(h) - K(g) as n grows (integrated gradients: Sundararajan, Taly and Yan 2017, arXiv 1703.01365).

Letters: S positions, D d_model, P patches, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.analysis.losses import divergence, log_probabilities
from pipeline.analysis.splicing import HookedModel, Unpatched, patched


@dataclass(frozen=True)
class Scene:
    """The text up to a token, and both models on it.

    token_ids: [1, S]; own: IT's activations at the hook point [1, S, D] in its own type
    base_SD, it_SD: both models' in float32, raw units; kept: [1, S] that no patch may touch
    log_base_1V: what the base model predicts next
    """

    it: HookedModel
    token_ids: Tensor
    own: Tensor
    base_SD: Tensor
    it_SD: Tensor
    kept: Tensor
    log_base_1V: Tensor

    @classmethod
    def of(
        cls,
        models: tuple[HookedModel, HookedModel],
        token_ids: Tensor,
        unpatched: Unpatched,
    ) -> "Scene":
        """token_ids: [1, S], the last of which is the token."""
        base, it = models
        n_vocab = min(base.head.n_vocab, it.head.n_vocab)
        of_base, own = base.residual(token_ids), it.residual(token_ids)
        last_1D = base.continued(token_ids, of_base)[:, -1]
        return cls(
            it=it,
            token_ids=token_ids,
            own=own,
            base_SD=of_base[0].float(),
            it_SD=own[0].float(),
            kept=unpatched.starts(token_ids) | unpatched.outliers([of_base, own]),
            log_base_1V=log_probabilities(base.head, last_1D, n_vocab=n_vocab),
        )

    def log_it_1V(self, x_SD: Tensor) -> Tensor:
        """What IT predicts next when it goes on from rows x."""
        x_1SD = patched(self.own, x_SD[None].to(self.own.device), self.kept)
        last_1D = self.it.continued(self.token_ids, x_1SD)[:, -1]
        n_vocab = self.log_base_1V.shape[1]
        return log_probabilities(self.it.head, last_1D, n_vocab=n_vocab)

    def kl(self, x_SD: Tensor) -> Tensor:
        """K(x), a single number, in nats."""
        log_it_1V = self.log_it_1V(x_SD)
        return divergence(log_it_1V, self.log_base_1V.to(log_it_1V.device))[0]

    def gradient(self, x_SD: Tensor) -> Tensor:
        """[S, D] of K at x."""
        with torch.enable_grad():
            point = x_SD.detach().clone().requires_grad_()
            return torch.autograd.grad(self.kl(point), point)[0]

    def path_gradient(self, n_points: int) -> Tensor:
        """[S, D] G: the mean of the gradient at the middles of equal pieces of the path."""
        total = torch.zeros_like(self.it_SD)
        for i in range(n_points):
            share = (i + 0.5) / n_points
            total += self.gradient(self.base_SD + share * (self.it_SD - self.base_SD))
        return total / n_points

    def removed(self, parts: Sequence[Tensor]) -> list[float]:
        """K(h) - K(h - c) of each part c [S, D]: by real patching."""
        with torch.no_grad():
            whole = self.kl(self.it_SD)
            return [float(whole - self.kl(self.it_SD - part)) for part in parts]
