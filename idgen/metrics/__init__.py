"""Scores of drawings: pure functions on embeddings, a `torchmetrics.Metric` each, and the encoders.

`similarity`, `masked`, `leakage`, `copying`, `diversity`, `identity` and `background` compare
embeddings, `encoders` makes them, `scorer` is what the encoders share and `preprocessing` what they
see. `observed` embeds each picture once, `drawing_scores` and `truth_scores` are what runs compute
from that, `leave_one_out` what the photos themselves come to, and `protocol` says what decides
their values. The metrics hold no encoder: a network that is a metric's attribute would end up in
the checkpoint and among the parameters of whatever module holds the metric.
"""
