"""Scores of drawings: pure functions on embeddings, a `torchmetrics.Metric` each, and the encoders.

`similarity`, `masked`, `leakage`, `copying`, `diversity`, `identity`, `background` and
`leave_one_out` compare embeddings, `balance` joins two scores, `encoders` makes the embeddings,
`scorer` is what the encoders share and `preprocessing` what they see. The metrics hold no encoder:
a network that is a metric's attribute would end up in the checkpoint and among the parameters of
whatever module holds the metric.
"""
