"""A probe's scores in numbers: how good it is, and whether clips show what captions name."""

from typing import Any

import torch
from torch import Tensor

from benchmarks.poses import mean_and_error
from benchmarks.probe import ATTRIBUTES, PLACES, THINGS, UNCLEAR
from jog3r.data.world.materials import COLOURS

_COLOURS = len(COLOURS)
KINDS = {
    "colours": range(_COLOURS),
    "shapes": range(_COLOURS, len(THINGS)),
    "colours and shapes": range(len(THINGS)),
    "place": range(len(THINGS), len(ATTRIBUTES)),
}


def average_precision(scores: Tensor, present: Tensor) -> float:
    """Mean precision at the rank of every present one; nan if there is none.

    Example:
        >>> average_precision(torch.tensor([0.9, 0.8, 0.1]), torch.tensor([True, False, True]))
        0.8333333730697632
    """
    ranked = present[scores.argsort(descending=True)].float()
    precision = ranked.cumsum(dim=0) / torch.arange(1, len(ranked) + 1)
    return float(precision[ranked > 0].mean())


def balanced_accuracy(hits: Tensor, present: Tensor) -> float:
    """Mean of the accuracies on present and on absent ones; nan if one kind is missing."""
    return float((hits[present].float().mean() + (~hits[~present]).float().mean()) / 2)


def best_threshold(scores: Tensor, present: Tensor) -> float:
    """Score at which the balanced accuracy is best."""
    candidates = torch.linspace(0.05, 0.95, 91).tolist()
    return max(candidates, key=lambda t: balanced_accuracy(scores >= t, present))


def thresholds(scores: Tensor, labels: Tensor) -> Tensor:
    """Best threshold of each colour and shape `(things,)`, from frames with clear labels."""
    found = []
    for i in range(len(THINGS)):
        clear = labels[:, i] != UNCLEAR
        found.append(best_threshold(scores[clear, i], labels[clear, i] == 1))
    return torch.tensor(found)


def decide(scores: Tensor, limits: Tensor) -> Tensor:
    """What the probe sees: things above their threshold, and the likeliest place."""
    things, places = scores.split([len(THINGS), len(PLACES)], dim=-1)
    likeliest = places == places.amax(dim=-1, keepdim=True)
    return torch.cat([things >= limits, likeliest], dim=-1)


def probe_rows(name: str, scores: Tensor, labels: Tensor, limits: Tensor) -> list[dict[str, Any]]:
    """Accuracy of the probe on labelled frames, averaged over the attributes of each kind."""
    hits, rows = decide(scores, limits), []
    for kind, columns in KINDS.items():
        parts = []
        for i in columns:
            clear = labels[:, i] != UNCLEAR
            present, score = labels[clear, i] == 1, scores[clear, i]
            precision = average_precision(score, present)
            accuracy = balanced_accuracy(hits[clear, i], present)
            parts.append((precision, accuracy, float(present.float().mean())))
        means = [100 * mean_and_error(values)[0] for values in zip(*parts, strict=True)]
        names = ("average_precision_%", "balanced_accuracy_%", "base_rate_%")
        row = {"frames": name, "attributes": kind, "count": len(scores)}
        rows.append(row | dict(zip(names, means, strict=True)))
    return rows


def caption_rows(
    scores: Tensor, named: Tensor, limits: Tensor, base_rate: Tensor, reference: dict[str, Tensor]
) -> list[dict[str, Any]]:
    """Compare what the probe sees in clips with what their captions name.

    Args:
        scores: of the generated clips, `(clips, frames, attributes)`.
        named: by each clip's caption, `(clips, attributes)`.
        limits: thresholds of colours and shapes.
        base_rate: share of the world's frames that show each attribute.
        reference: scores of real clips with the same captions, by name.
    """
    seen, rows = decide(scores, limits).float().mean(dim=1), []
    rest = (seen.sum(dim=0) - seen) / (len(seen) - 1)  # the same attribute in all other clips
    real = {name: decide(s, limits).float().mean(dim=1) for name, s in reference.items()}
    for kind, columns in KINDS.items():
        chosen = named.clone()
        chosen[:, [i for i in range(len(ATTRIBUTES)) if i not in columns]] = False
        own, shuffled = _per_clip(seen, chosen), _per_clip(rest, chosen)
        gain, se = mean_and_error([a - b for a, b in zip(own, shuffled, strict=True)])
        rows.append(
            {
                "attributes": kind,
                "clips": len(own),
                "named": int(chosen.sum()),
                "own_caption_%": 100 * mean_and_error(own)[0],
                "own_se": 100 * mean_and_error(own)[1],
                "shuffled_captions_%": 100 * mean_and_error(shuffled)[0],
                "gain_%": 100 * gain,
                "gain_se": 100 * se,
                "chance_%": 100 * float(base_rate.expand(named.shape)[chosen].mean()),
                "rank_%": 100 * rank_rate(scores.mean(dim=1), chosen, named),
                **{
                    f"{name}_%": 100 * mean_and_error(_per_clip(values, chosen))[0]
                    for name, values in real.items()
                },
            }
        )
    return rows


def _per_clip(seen: Tensor, chosen: Tensor) -> list[float]:
    """Mean over the named attributes of each clip that names any."""
    return [float(row[mask].mean()) for row, mask in zip(seen, chosen, strict=True) if mask.any()]


def rank_rate(scores: Tensor, chosen: Tensor, named: Tensor) -> float:
    """How often a named attribute scores higher than in clips whose captions do not name it.

    Needs no threshold; chance is 0.5, and ties count half.
    """
    rates = []
    for clip, attribute in chosen.nonzero().tolist():
        others = scores[~named[:, attribute], attribute]
        if len(others):
            gap = scores[clip, attribute] - others
            rates.append(float((gap > 0).float().mean() + (gap == 0).float().mean() / 2))
    return mean_and_error(rates)[0]
