"""A worker's parent says why it ends an execution before it does, and the child can read it."""

import os

from sagas.engine.sentences import SLOTS, Sentence, Sentences


def test_what_was_not_sentenced_is_not() -> None:
    sentences = Sentences()
    sentences.pronounce("one", Sentence.LIMIT)

    assert sentences.on("two") is None
    assert sentences.on(None) is None


def test_the_last_word_counts_and_can_be_taken_back() -> None:
    sentences = Sentences()
    sentences.pronounce("one", Sentence.LIMIT)
    sentences.pronounce("one", Sentence.REVOKED)
    assert sentences.on("one") is Sentence.REVOKED

    sentences.withdraw("one")

    assert sentences.on("one") is None


def test_the_oldest_are_forgotten() -> None:
    sentences = Sentences()
    for number in range(SLOTS + 1):
        sentences.pronounce(str(number), Sentence.LIMIT)

    assert sentences.on("0") is None
    assert all(sentences.on(str(number)) is Sentence.LIMIT for number in range(1, SLOTS + 1))


def test_d20_a_child_reads_what_its_parent_has_written_after_the_fork() -> None:
    sentences = Sentences()
    reads, writes = os.pipe()
    told, tells = os.pipe()
    child = os.fork()
    if not child:
        os.read(reads, 1)
        os.write(tells, bytes([sentences.on("mine") or 0]))
        os._exit(0)

    sentences.pronounce("mine", Sentence.REVOKED)
    os.write(writes, b"!")

    assert os.read(told, 1) == bytes([Sentence.REVOKED])
    os.waitpid(child, 0)
