"""Broad lines: changes on every row, each in proportion to what base has there.

A head that writes less, or an output matrix that was tuned as a whole, alters every row a little,
and each in another way: no row lies along it, and its rows have no end. But what it does is nearly
a linear function of base's row, so the map W that fits best

    what the narrow lines leave  ~  W (x_base - mean_base)

has it as its first singular direction v, with the reader w = W^T v: along v, IT has <w, x_base -
mean_base> more than base. What else is left lies on fewer rows and is larger there, so the map is
fitted to the half of the rows that agree best on it (least trimmed squares: Rousseeuw 1984, Journal
of the American Statistical Association 79), and it is believed where it foretells rows that had no
part in the fit. v is taken off, and the next one is looked for, until one is not believed.

Letters: T rows, D d_model, L lines, K broad lines.
"""

from dataclasses import replace

import torch
from torch import Tensor

from pipeline.analysis.changes.lines import Lines, broad_code, code, differences, differs
from pipeline.config.changes import ChangesConfig

MAX_BROAD = 8
MIN_FORETOLD, MIN_FORETOLD_NEXT = 0.7, 0.8
"""Share of the squares along a broad line that its map foretells, on the half of the rows that
agree best with the map, none of which had a part in the fit. A further line may be no more than the
rest of an earlier one, mixed with the faint tails of other changes. Measured on nine pairs of
`tiny`'s base with a dampened head: 0.71 to 0.90 for the first, 0.52 to 0.76 for the second."""
ROUNDS = 5
"""Rounds in which the rows that agree best on a map are chosen anew."""
RIDGE = 1e-3
"""Of the second moment of base's rows, over its mean diagonal: there may be few rows."""
LEAST_RIDGE = 1e-30
"""Where the rows that agree are base's mean itself, of which any map makes 0."""
NORMAL_SPREAD = 1.4826
"""Of a normal variable: its standard deviation over the median of its size."""


def with_broad_lines(lines: Lines, x_TMD: Tensor, section: ChangesConfig) -> Lines:
    """The lines and, behind them, the broad ones of rows x. None where most rows do not differ."""
    if float(differs(x_TMD).float().mean()) < 0.5:
        return lines
    away_TD = lines.away(x_TMD)
    left_TD = torch.cat([code(lines, part, section)[1] for part in x_TMD.split(section.batch_rows)])
    least = section.min_gain * float(differences(x_TMD).square().sum())
    for number in range(MAX_BROAD):
        enough = MIN_FORETOLD_NEXT if number else MIN_FORETOLD
        found = _broad_line(left_TD, away_TD, least, enough)
        if found is None:
            break
        left_TD = left_TD - broad_code(left_TD, away_TD, *found)[:, None] * found[0]
        lines = _appended(lines, *found)
    return lines


def _appended(lines: Lines, direction_D: Tensor, reader_D: Tensor, spread: Tensor) -> Lines:
    number = torch.tensor([lines.n_changes], device=lines.change_L.device)
    # the part of the mean's shift along the direction is this change's: a head that writes less
    # also writes less of its mean
    offset = lines.shift_D @ direction_D
    return replace(
        lines,
        shift_D=lines.shift_D - offset * direction_D,
        direction_LD=torch.cat([lines.direction_LD, direction_D[None]]),
        change_L=torch.cat([lines.change_L, number]),
        reader_KD=torch.cat([lines.reader_KD, reader_D[None]]),
        offset_K=torch.cat([lines.offset_K, offset[None]]),
        spread_K=torch.cat([lines.spread_K, spread[None]]),
    )


def _broad_line(
    left_TD: Tensor, away_TD: Tensor, least: float, enough: float
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Direction, reader and spread of the first broad line, if it is believed: on rows that had no
    part in the fit, its map foretells the share `enough` of what lies along it and lessens the sum
    of squares, and the line explains `least` squares of all rows."""
    map_DD = _trimmed_map(left_TD[::2], away_TD[::2])
    direction_D = _first_direction(left_TD[::2], away_TD[::2], map_DD)
    reader_D = map_DD @ direction_D
    left_TD, away_TD = left_TD[1::2], away_TD[1::2]
    expected_T, along_T = away_TD @ reader_D, left_TD @ direction_D
    spread = NORMAL_SPREAD * (along_T - expected_T).abs().median()
    f_T = broad_code(left_TD, away_TD, direction_D, reader_D, spread)
    upwards = 1 - 2 * (f_T.pow(3).sum() < 0).to(f_T)
    agrees = _agreeing(left_TD - away_TD @ map_DD)
    foretold = 1 - _squares(along_T - expected_T, agrees) / _squares(along_T, agrees)
    believed = (
        foretold >= enough and _gain(expected_T, along_T) > 0 and 2 * _gain(f_T, along_T) >= least
    )
    return (upwards * direction_D, upwards * reader_D, spread) if believed else None


def _trimmed_map(left_TD: Tensor, away_TD: Tensor) -> Tensor:
    """[D, D] W^T: the least-squares map of the half of the rows that agree best on it."""
    map_DD = left_TD.new_zeros(left_TD.shape[1], left_TD.shape[1])
    for _ in range(ROUNDS):
        agrees = _agreeing(left_TD - away_TD @ map_DD)
        x_ND = away_TD[agrees]
        moment_DD = x_ND.T @ x_ND
        ridge = (RIDGE * moment_DD.diagonal().mean()).clamp_min(LEAST_RIDGE)
        moment_DD.diagonal().add_(ridge)
        map_DD = torch.linalg.solve(moment_DD, x_ND.T @ left_TD[agrees])
    return map_DD


def _first_direction(left_TD: Tensor, away_TD: Tensor, map_DD: Tensor) -> Tensor:
    """[D] unit vector along which the map does most on the rows that agree with it."""
    done_ND = (away_TD @ map_DD)[_agreeing(left_TD - away_TD @ map_DD)]
    return torch.linalg.eigh(done_ND.T @ done_ND).eigenvectors[:, -1]


def _agreeing(rest_TD: Tensor) -> Tensor:
    """[T] the half of the rows of which least is left."""
    square_T = rest_TD.square().sum(dim=1)
    return square_T <= square_T.median()


def _squares(value_T: Tensor, among_T: Tensor) -> float:
    return max(float(value_T[among_T].square().sum()), 1e-30)


def _gain(f_T: Tensor, along_T: Tensor) -> float:
    """By how much f lessens the sum of squares along a direction."""
    return float((2 * f_T * along_T - f_T.square()).sum())
