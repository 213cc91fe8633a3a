"""Groups of words that one measurement basis serves."""

from hypothesis import given
from hypothesis import strategies as st

from qjax.observables import group_words

LETTERS = st.dictionaries(st.integers(0, 4), st.sampled_from("XYZ"), max_size=5)
WORDS = st.lists(LETTERS.map(lambda d: tuple(sorted(d.items()))), max_size=12)


@given(WORDS)
def test_every_word_is_in_one_group_and_agrees_with_it(words):
    """A partition, each group with a basis that holds all letters of its words and no others."""
    groups = group_words(words)
    assert sorted(i for group in groups for i in group.members) == list(range(len(words)))
    for group in groups:
        letters = {pair for i in group.members for pair in words[i]}
        assert dict(group.basis) == dict(letters) and len(letters) == len(group.basis)


def test_z_words_are_one_group_and_two_bases_two():
    """As on a device: all of Z from one circuit."""
    z = [((0, "Z"),), ((1, "Z"),), ((0, "Z"), (1, "Z"))]
    assert len(group_words(z)) == 1
    assert [g.members for g in group_words([*z, ((0, "X"),)])] == [(0, 1, 2), (3,)]
    assert group_words([]) == ()
    assert group_words([()])[0].basis == ()
