"""Metrics of ranks and of recommended lists, by group, with their significance, and calibration."""

from laclrec_tf.metrics.groups import Groups, length_groups, metrics_by_group, popularity_groups
from laclrec_tf.metrics.lists import coverage, intra_list_diversity, novelty, surprise
from laclrec_tf.metrics.ranking import mrr_at_k, ndcg_at_k, ranking_metrics, recall_at_k, target_ranks
from laclrec_tf.metrics.significance import PairedDifference, Reliability, paired_bootstrap, reliability

__all__ = [
    "Groups",
    "PairedDifference",
    "Reliability",
    "coverage",
    "intra_list_diversity",
    "length_groups",
    "metrics_by_group",
    "mrr_at_k",
    "ndcg_at_k",
    "novelty",
    "paired_bootstrap",
    "popularity_groups",
    "ranking_metrics",
    "recall_at_k",
    "reliability",
    "surprise",
    "target_ranks",
]
