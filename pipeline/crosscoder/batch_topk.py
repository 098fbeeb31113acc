"""BatchTopK. Letters: B rows, M models, D d_model, L latents, P = M * D, N kept entries."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.config.crosscoder import BatchTopKConfig
from pipeline.crosscoder.auxk import AuxK, Unexplained
from pipeline.crosscoder.entries import Entries, Precision, gradient_of, relu_backward
from pipeline.crosscoder.model import Crosscoder
from pipeline.crosscoder.reconstruction import Reconstruction
from pipeline.crosscoder.selection import calibrated_threshold, positions
from pipeline.crosscoder.variant import Loss, Moment, Step, Variant
from pipeline.distributed import ONE_PROCESS, Mesh

GUESS_MARGIN = 0.95
"""Share of the last batch's smallest kept score from which scores are looked at at all."""


class BatchTopK(Variant):
    """The B * k largest scores of a batch are kept; at inference those above a threshold.

        pre     = sum_m x_m W_enc_m + b_enc
        v_i     = relu(pre_i) sum_m ||d_m,i||
        f       = pre where v is among the B k(t) largest of the batch and above 0, else 0
        x_hat_m = f W_dec_m + b_dec_m
        total   = r * reconstruction + c * a * auxk    (`Reconstruction`, `AuxK`)

    The reconstruction is squared, or the norm of the published crosscoders; r and a depend on the
    widths alone, so that c means the same at any width (`Reconstruction.weights`).

    k(t) falls linearly from `k_start` to `k`. Equal scores at the edge are all kept. The choice is
    not differentiated. Inference keeps v > theta, with theta the running mean of the smallest
    kept v, or fitted after training so that held-out rows keep k on average.
    Source: Minder, Dumas et al. 2025, arXiv 2504.02922; Bussmann et al. 2024, arXiv 2412.06410.
    """

    def __init__(
        self,
        crosscoder: Crosscoder,
        config: BatchTopKConfig,
        *,
        precision: Precision,
        dead_after_rows: int,
        mesh: Mesh = ONE_PROCESS,
    ) -> None:
        super().__init__(crosscoder, precision, mesh)
        self.config = config
        self.dead_after_rows = dead_after_rows
        self.reconstruction = Reconstruction(
            config.reconstruction, crosscoder.n_models, crosscoder.d_model
        )
        self.auxk = AuxK(crosscoder, config.k_aux or crosscoder.d_model // 2, mesh)
        device = crosscoder.W_dec_LP.device
        self.running_threshold = torch.full((), -1.0, dtype=torch.float64, device=device)
        self.guess = torch.zeros((), dtype=torch.float64, device=device)
        self._smallest_kept = torch.zeros((), dtype=torch.float64, device=device)

    def k(self, moment: Moment) -> float:
        """Latents kept per row at a moment; exactly `config.k` once annealed."""
        config = self.config
        if config.k_anneal_fraction == 0.0:
            return float(config.k)
        ramp = moment.ramp(config.k_anneal_fraction)
        return config.k_start + (config.k - config.k_start) * ramp

    def schedule(self, moment: Moment) -> dict[str, float]:
        return {"k": self.k(moment)}

    def state(self) -> dict[str, Tensor]:
        return super().state() | {"running_threshold": self.running_threshold, "guess": self.guess}

    def dead(self) -> Tensor:
        """Latents that fired on none of the last `dead_after_rows` rows."""
        return self.rows_since_fired_L >= self.dead_after_rows

    def loss(self, x_BP: Tensor, moment: Moment) -> Loss:
        crosscoder = self.crosscoder
        pre_BL = x_BP @ crosscoder.W_enc_LP.t() + crosscoder.b_enc_L
        v_BL = (torch.relu(pre_BL) * crosscoder.decoder_norms().sum(-1)).detach()
        n_kept = self._n_kept(len(x_BP), moment)
        smallest = v_BL.flatten().topk(n_kept).values[-1]
        f_BL = pre_BL * ((v_BL >= smallest) & (v_BL > 0))
        residual_BP = f_BL @ crosscoder.W_dec_LP + crosscoder.b_dec_P - x_BP
        auxk = self.auxk.loss(pre_BL, residual_BP.detach(), self.dead())
        return self._loss(self.reconstruction.term(residual_BP, len(x_BP)), auxk)

    def _loss(self, reconstruction: Tensor, auxk: Tensor) -> Loss:
        weights = self.reconstruction.weights(self.config.auxk_coefficient)
        return Loss({"reconstruction": reconstruction, "auxk": auxk}, weights)

    def _n_kept(self, n_rows: int, moment: Moment) -> int:
        return min(round(n_rows * self.k(moment)), n_rows * self.config.n_latents)

    @torch.no_grad()
    def step(self, x_BP: Tensor, moment: Moment, n_rows: int | None = None) -> Step:
        crosscoder, products, n_rows = self.crosscoder, self.products, n_rows or len(x_BP)
        products.begin()
        rows_BP = products.rounded("rows", x_BP)
        pre_BL = products.preactivations(rows_BP)
        norm_L = crosscoder.decoder_norms().sum(-1)
        dead_L, n_kept = self.dead(), self._n_kept(n_rows, moment)
        flat_N, kept_N, counts = self._kept(pre_BL, norm_L, dead_L, n_kept)
        share = n_kept / (n_rows * self.config.n_latents)
        f: Entries = products.entries_at(flat_N, kept_N, len(x_BP), share)
        residual_BP = products.reconstruct(f).sub_(x_BP)

        exact_g_BP = self.reconstruction.gradient(residual_BP, n_rows)
        g_BP = products.rounded("gradient", exact_g_BP)
        f.outer_into(crosscoder.W_dec_LP, g_BP)
        if counts.n_dead_in_all == 0:  # else AuxK adds to it
            self.gradient_done(crosscoder.W_dec_LP)
        torch.sum(exact_g_BP, 0, out=gradient_of(crosscoder.b_dec_P))
        # Kept values are above 0; at the pairs that are not kept, dense entries have a 0.
        pre_grad = f.with_values(relu_backward(f.dot(g_BP, products.W_dec_LP), f.values))
        pre_grad.outer_into(crosscoder.W_enc_LP, rows_BP)
        gradient_of(crosscoder.b_enc_L).copy_(pre_grad.latent_sums())

        left = Unexplained(
            pre_BL=pre_BL,
            norm_L=norm_L,
            rows_BP=rows_BP,
            residual_BP=residual_BP,
            dead_L=dead_L,
            n_dead=counts.n_dead,
            n_dead_in_all=counts.n_dead_in_all,
            n_rows=n_rows,
        )
        weights = self.reconstruction.weights(self.config.auxk_coefficient)
        auxk = self.auxk.step(left, weights["auxk"])
        reconstruction = self.reconstruction.term(residual_BP, n_rows)
        loss = self._loss(self.mesh.latents.once(reconstruction), auxk)
        return Step(loss, residual_BP, f.values, f.fired())

    def _kept(
        self, pre_BL: Tensor, norm_L: Tensor, dead_L: Tensor, n_kept: int
    ) -> tuple[Tensor, Tensor, "_Counts"]:
        """Flat positions and preactivations [N] of this process's part of the n_kept largest scores
        of all. Exact: where the guess from the last batch leaves too few candidates, every
        positive score is one."""
        ranks = self.mesh.all
        above_BL = _above(pre_BL, norm_L, self.guess)
        counts = self._counts(above_BL, dead_L)
        if counts.n_in_all < n_kept and counts.guessed:
            above_BL = _above(pre_BL, norm_L, torch.zeros_like(self.guess))
            counts = self._counts(above_BL, dead_L)
        flat_N = positions(above_BL, counts.n)
        pre_N = pre_BL.flatten()[flat_N]
        v_N = pre_N.to(norm_L.dtype) * norm_L[flat_N % len(norm_L)]
        if counts.n_in_all > n_kept:
            smallest = ranks.kth_largest(v_N, n_kept)
            kept = positions(v_N >= smallest)
            flat_N, pre_N = flat_N[kept], pre_N[kept]
            self._smallest_kept = smallest.double()
        elif counts.n_in_all > 0:
            self._smallest_kept = ranks.kth_largest(v_N, counts.n_in_all).double()
        else:  # what the next step depends on is all in `state`
            self._smallest_kept = torch.zeros_like(self.guess)
        return flat_N, pre_N, counts

    def _counts(self, above_BL: Tensor, dead_L: Tensor) -> "_Counts":
        """All numbers that the host must know before it can go on, read from the device at once."""
        n, n_dead = above_BL.count_nonzero(), dead_L.count_nonzero()
        # Ranks that hold the same latents count the same dead ones: the first of them counts.
        in_all = torch.stack([n, self.mesh.rows.once(n_dead)])
        self.mesh.all.sum(in_all)
        read = torch.cat([torch.stack([n, n_dead]), in_all, (self.guess > 0).long()[None]])
        n_own, n_own_dead, n_in_all, n_dead_in_all, guessed = read.tolist()
        return _Counts(n_own, n_in_all, n_own_dead, n_dead_in_all, bool(guessed))

    def advance(self, step: Step, n_rows: int) -> None:
        super().advance(step, n_rows)
        momentum = self.config.threshold_momentum
        is_first = self.running_threshold < 0
        moved = momentum * self.running_threshold + (1 - momentum) * self._smallest_kept
        self.running_threshold.copy_(torch.where(is_first, self._smallest_kept, moved))
        self.guess.copy_(GUESS_MARGIN * self._smallest_kept)

    @property
    def calibration_rows(self) -> int:
        return self.config.calibration_rows if self.config.threshold == "calibrated" else 0

    @torch.no_grad()
    def finish(self, batches: Iterable[Tensor]) -> None:
        theta = self.running_threshold.clamp_min(0)
        norm_L = self.crosscoder.decoder_norms().sum(-1)
        if self.config.threshold == "calibrated":
            theta = self._calibrated(batches, norm_L)
        self.crosscoder.threshold_L.copy_(theta / norm_L)

    def _calibrated(self, batches: Iterable[Tensor], norm_L: Tensor) -> Tensor:
        """The threshold that keeps k latents per row on average over the given rows."""
        W_enc_PL, b_enc_L = self.crosscoder.W_enc_LP.t(), self.crosscoder.b_enc_L
        return calibrated_threshold(
            (torch.addmm(b_enc_L, x_BP, W_enc_PL) for x_BP in batches),
            norm_L,
            self.config.k,
            max_rows=self.config.calibration_rows,
            mesh=self.mesh,
        )


@dataclass(frozen=True)
class _Counts:
    """Candidates and dead latents of this process, and of all; guessed: whether a guess bounds the
    candidates."""

    n: int
    n_in_all: int
    n_dead: int
    n_dead_in_all: int
    guessed: bool


def _above(pre_BL: Tensor, norm_L: Tensor, floor: Tensor) -> Tensor:
    """Whether scores are above `floor`, a scalar: [B, L]."""
    return pre_BL > (norm_L.reciprocal() * floor).to(pre_BL.dtype)
