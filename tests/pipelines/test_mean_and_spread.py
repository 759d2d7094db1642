"""A mean over seeds, some of which may have no value."""

from laclrec_tf.study.tables import mean_and_spread


def test_a_precision_is_of_the_seeds_that_have_one():
    none = float("nan")  # nothing was deleted
    assert mean_and_spread([0.1, 0.3]) == "0.2000 ± 0.1414"
    assert mean_and_spread([none, 0.1, 0.3]) == "0.2000 ± 0.1414 (2 of 3)"
    assert (mean_and_spread([none, 0.1]), mean_and_spread([none, none])) == ("0.1000 (1 of 2)", "–")
