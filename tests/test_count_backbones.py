from tools.count_backbones import counted


def test_the_method_stays_below_a_twentieth_of_the_denoiser() -> None:
    whole, lora, conditioning = counted("sd35_medium")
    # D = 4096: projection 1024 -> D, two layers of D x D, the mask, four experts and the router.
    projection, adapter = 1025 * 4096, 2 * 4097 * 4096 + 4096
    experts = 4 * 2 * 64 * 4096 + 4097 * 4
    assert conditioning == projection + adapter + experts
    # Rank 4 in q, k, v and out of 24 blocks and of the second attention of 13, each 1536 x 1536.
    assert lora == (24 + 13) * 4 * 4 * 2 * 1536
    assert (lora + conditioning) / whole < 0.05
