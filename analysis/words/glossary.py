"""The words of the report, one meaning each."""

from __future__ import annotations

from analysis.wording import title, words
from trainables.task import DEFAULT_LOSS, LOSSES, Metric

WORDS = {
    "adaptive_sharpness": "Kwon et al. 2021: largest rise of the training loss where "
    "each weight moves by no more than a share of its own size. Indifferent to rescaled layers.",
    "alpha": "Place on the path between two solutions: 0 is the small batch's, 1 the large's.",
    "arm": "A named set of changes to the baseline: a remedy or a control.",
    "baseline_batch_size": "The small batch size that gaps are measured from.",
    "batch_sharpness": "Andreyev & Beneventano 2024: curvature of a batch's loss along the batch's "
    "own gradient, mean over batches.",
    "discard_ratio": "Fraction of each batch's examples, those of smallest loss or, where "
    "discard_rule says so, drawn at random, that give no gradient.",
    "distance_between": "|x - x'|: from the weights to those at the baseline batch size, all else "
    "equal; normalization statistics apart.",
    "distance_from_start": "|x - x0|: from the weights to those that training started from; "
    "relative_distance_from_start divides by |x0|.",
    "distance_ratio": "|x' - x0| / |x - x0|, x' at the baseline batch size: above 1 the small "
    "batch went further. Keskar et al. 2017 report 3 to 10.",
    "epoch": "One data set's worth of examples, a real number: batches cut across epochs.",
    "generalization_gap": "By how much the metric on the test set is better at the baseline batch "
    "size than at this one, all else equal, paired by seed.",
    "global_batch_size": "Examples drawn per optimizer step, over all workers.",
    "gradient_squared_norm": "|G|\N{SUPERSCRIPT TWO}, G the gradient of the training loss at the "
    "solution.",
    "gradient_trace_covariance": "tr(\N{GREEK CAPITAL LETTER SIGMA}): how far the gradients of "
    "single examples scatter about their mean.",
    "hessian_curved_share": "Share of the directions that carry the curvature: (Σ|λ|)² / (n Σλ²).",
    "hessian_mean_eigenvalue": "The Hessian's trace over the number of parameters; "
    "hessian_mean_square_eigenvalue likewise of its square.",
    "hessian_negative_share": "Part of the sum of all |λ| that is negative curvature.",
    "hessian_top_eigenvalue": "Largest curvature of the training loss at the solution.",
    "hessian_trace": "Sum of all curvatures of the training loss at the solution.",
    "interval": "95 %: Student t for means and paired differences, Fieller for shares.",
    "landscape_mean_rise": "Mean rise of the training loss over a plane of two filter-normalized "
    "random directions (Li et al. 2018); landscape_largest_rise is the largest.",
    "median_rise": "Median rise of the training loss along random directions; largest_rise is the "
    "largest, steep_share the share that rises by steep_rise or more.",
    "loss_barrier": "By how much the training loss between two solutions exceeds the straight "
    "line between its values at them, at most.",
    "noise_scale": "McCandlish et al. 2018: tr(\N{GREEK CAPITAL LETTER SIGMA}) / "
    "|G|\N{SUPERSCRIPT TWO}, in examples: the batch size at which noise and gradient weigh alike.",
    "optimizer_step": "One update of the weights.",
    "path_curvature": "Curvature of the training loss at a solution, along the line to the other: "
    "as comparable with hessian_top_eigenvalue as the spacing of the points is fine.",
    "sharpness": "Keskar et al. 2017: 100 (max f - f) / (1 + f) of the training loss f over a "
    "small box around the solution. Depends on the scale of the weights.",
    "sharpness_epsilon": "Size of that box relative to each weight.",
    "sharpness_ratio": "Sharpness at this batch size over that at the baseline batch size.",
    "top_gradient_variance": "Variance over examples of the gradient along the Hessian's top "
    "eigenvector: by it Liao et al. 2026 explain how far that eigenvalue stays below 2 / lr.",
    "train_loss": "Mean over the training set of what training minimizes.",
}


def glossary(metric: Metric, loss: Metric) -> dict[str, str]:
    """The words, those among them that are about the metric and the loss in the study's terms."""
    found = {"generalization_gap": f"{title(gap_words(metric))}."}
    if loss is LOSSES[DEFAULT_LOSS]:
        found["train_loss"] = "Mean cross-entropy over the training set, in nats."
    return WORDS | found


def gap_words(metric: Metric) -> str:
    """How a gap of the metric is formed."""
    ends = ["at the baseline batch size", "at this one"]
    first, second = ends if metric.is_larger_better else ends[::-1]
    name = words(metric.column("test"))
    return f"{name} {first} minus {second}, all else equal, paired by seed"
