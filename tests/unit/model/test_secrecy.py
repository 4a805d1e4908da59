"""Secret fields: sealed where they are stored, opened for whoever works with them, hidden from everybody else."""

import copy
import json
import pickle
from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from cryptography.fernet import Fernet, MultiFernet
from hypothesis import given

from sagas.errors import ConfigurationError, PayloadError, SecretUnreadable
from sagas.model.payload import Sealed, dumps, loads
from sagas.model.secrecy import Secrecy
from tests.unit.model.test_payload import data, same

OLD, NEW = Fernet(Fernet.generate_key()), Fernet(Fernet.generate_key())
CARD = "4111 1111 1111 1111"
ORDER = {"card": CARD, "total": Decimal("9.90")}


class Backwards:
    """A codec of somebody's own."""

    def encrypt(self, given: bytes) -> bytes:
        return given.hex().encode()[::-1]

    def decrypt(self, token: bytes) -> bytes:
        return bytes.fromhex(token[::-1].decode())


# -- storing


@given(data, data)
def test_what_is_sealed_comes_back_as_it_was(secret: Any, other: Any) -> None:
    secrecy = Secrecy(["secret"], Backwards())

    stored = secrecy.dumps({"secret": secret, "other": other}, "data")

    back = secrecy.open(loads(stored))
    assert same(back, {"secret": secret, "other": other})


def test_without_a_codec_data_is_stored_as_always() -> None:
    assert Secrecy(["card"]).dumps(ORDER, "data") == dumps(ORDER, "data")


def test_only_the_named_fields_of_the_top_level_are_encrypted() -> None:
    stored = Secrecy(["card"], OLD).dumps({**ORDER, "nested": {"card": "plain"}}, "data")

    assert CARD not in stored
    assert set(json.loads(stored)["card"]) == {"$secret"}
    assert json.loads(stored)["nested"] == {"card": "plain"}


def test_what_is_sealed_stays_sealed_on_its_way_through_a_store_without_the_key() -> None:
    stored = Secrecy(["card"], OLD).dumps(ORDER, "data")

    passed_on = dumps(loads(stored), "data of the child saga")

    assert json.loads(passed_on) == json.loads(stored)
    assert Secrecy(["card"], OLD).dumps(loads(stored), "data") == passed_on


@pytest.mark.parametrize("value", [None, "text", 7, ["card"], {}])
def test_what_has_no_fields_has_no_secrets(value: Any) -> None:
    secrecy = Secrecy(["card"], OLD)

    assert secrecy.open(loads(secrecy.dumps(value, "result"))) == value
    assert secrecy.hide(value) == value


def test_a_users_own_dict_that_looks_sealed_is_none() -> None:
    secrecy = Secrecy(["card"], OLD)
    forged = {"card": {"$secret": "gAAAAA"}, "other": {"$secret": "gAAAAA"}}

    assert secrecy.open(loads(secrecy.dumps(forged, "data"))) == forged


def test_an_unstorable_secret_is_refused_by_its_path_alone() -> None:
    with pytest.raises(PayloadError, match=r"data\['card'\]\['number'\] contains a NUL") as refused:
        Secrecy(["card"], OLD).dumps({"card": {"number": f"{CARD}\x00"}}, "data")

    assert CARD not in str(refused.value)


@pytest.mark.parametrize("answer", [b"\xff", "text", None])
def test_a_codec_that_does_not_return_ascii_is_told_so(answer: Any) -> None:
    class Broken(Backwards):
        def encrypt(self, given: bytes) -> bytes:
            return answer  # type: ignore[no-any-return]

    with pytest.raises(PayloadError, match=r"data\['card'\] cannot be encrypted.*returns ASCII"):
        Secrecy(["card"], Broken()).dumps(ORDER, "data")


def test_a_codec_that_raises_does_not_get_its_text_told() -> None:
    class Away(Backwards):
        def encrypt(self, given: bytes) -> bytes:
            raise ConnectionError(f"no vault for {given!r}")

    with pytest.raises(PayloadError, match="the codec says ConnectionError") as refused:
        Secrecy(["card"], Away()).dumps(ORDER, "data")

    assert CARD not in str(refused.value)
    assert refused.value.__suppress_context__


# -- opening


def test_old_keys_stay_readable_while_they_are_listed_and_new_data_is_under_the_first() -> None:
    before = Secrecy(["card"], MultiFernet([OLD])).dumps(ORDER, "data")
    rotated = Secrecy(["card"], MultiFernet([NEW, OLD]))

    assert rotated.open(loads(before)) == ORDER
    assert Secrecy(["card"], NEW).open(loads(rotated.dumps(ORDER, "data"))) == ORDER


@pytest.mark.parametrize(
    ("codec", "says"), [(NEW, r"no key here opens it \(InvalidToken\)"), (None, "this process has no key")]
)
def test_without_the_key_the_field_and_the_cure_are_named(codec: Any, says: str) -> None:
    stored = loads(Secrecy(["card"], OLD).dumps(ORDER, "data"))

    with pytest.raises(SecretUnreadable, match=f"the field 'card' is stored encrypted.*{says}"):
        Secrecy(["card"], codec).open(stored)


@pytest.mark.parametrize("token", ["", "gAAAAA", "ä", 7, None, {"a": 1}, []], ids=repr)
def test_a_token_that_was_edited_by_hand_is_unreadable_and_nothing_worse(token: Any) -> None:
    with pytest.raises(SecretUnreadable):
        Secrecy(["card"], OLD).open(loads(json.dumps({"card": {"$secret": token}})))


def test_a_name_that_is_no_secret_any_more_is_still_opened_and_still_hidden() -> None:
    stored = loads(Secrecy(["card"], OLD).dumps(ORDER, "data"))
    later = Secrecy([], OLD)

    assert later.open(stored) == ORDER
    assert later.hide(stored)["card"] == "•••"


# -- showing


def test_people_see_dots() -> None:
    stored = loads(Secrecy(["card"], OLD).dumps(ORDER, "data"))

    assert Secrecy(["card"], OLD).hide(stored) == {"card": "•••", "total": Decimal("9.90")}
    assert Secrecy(["card"]).hide(ORDER) == {"card": "•••", "total": Decimal("9.90")}
    assert Secrecy(["card", "total"]).hide(ORDER) == {"card": "•••", "total": "•••"}


def test_a_sealed_value_shows_nothing_of_itself_and_survives_copies() -> None:
    sealed = Sealed("gAAAAA")

    assert (repr(sealed), str(sealed), f"{sealed}") == ("•••", "•••", "•••")
    assert copy.deepcopy(sealed) == pickle.loads(pickle.dumps(sealed)) == sealed


def test_its_own_text_tells_the_names_alone() -> None:
    assert repr(Secrecy(["iban", "card"], OLD)) == "<Secrecy of ['card', 'iban']>"


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        (CARD, f"card {CARD} was declined"),
        ("it's", 'ValueError("it\'s not")'),
        ("a\"b'c\n", repr("a\"b'c\n")),
        ("a\"b'c\n", json.dumps("a\"b'c\n")),
        ("Zürich", json.dumps("Zürich")),
        (Decimal("1234.50"), "1234.50 is too much"),
        (date(2030, 12, 31), "valid until 2030-12-31"),
        (123456, "PIN 123456"),
        ({"number": CARD, "cvv": "1234"}, f"{CARD} with 1234"),
        ([CARD, "12345"], f"[{CARD!r}]"),
        ("4111/1234+a=", f"Max retries exceeded with url: /charge?card={quote('4111/1234+a=', safe='')}"),
        ("4111/1234+a=", f"no such path: /charge/{quote('4111/1234+a=')}"),
        ("4111 1234", f"POST {urlencode({'card': '4111 1234'})}"),
        ("Zürich", f"the answer was {'Zürich'.encode()!r}"),
    ],
    ids=repr,
)
def test_a_secret_is_taken_out_of_a_text_however_it_is_written(secret: Any, text: str) -> None:
    redacted = Secrecy(["secret"]).redactor({"secret": secret})(text)

    assert "•••" in redacted
    for plain in ("4111", "1234", "it's", "2030", "rich", "a\\", 'a"'):
        assert plain not in redacted.replace("it's not", "")


def test_what_is_short_or_empty_is_left_where_it_is() -> None:
    redact = Secrecy(["secret"]).redactor({"secret": "123"}, {"secret": None}, {"secret": True}, {"secret": ""})

    assert redact("123 True None") == "123 True None"


def test_the_longer_of_two_secrets_that_begin_alike_goes_whole() -> None:
    assert Secrecy(["a", "b"]).redactor({"a": "1234", "b": "1234-5678"})("no 1234-5678") == "no •••"


def test_sealed_secrets_are_taken_out_too_as_far_as_they_can_be_opened() -> None:
    stored = loads(Secrecy(["card"], OLD).dumps(ORDER, "data"))

    assert Secrecy(["card"], OLD).redactor(stored)(f"no {CARD}") == "no •••"
    assert Secrecy(["card"], NEW).redactor(stored)("no card") == "no card"


def test_where_nothing_is_secret_no_text_is_touched() -> None:
    assert Secrecy().redactor(ORDER)(CARD) == CARD


# -- refusals


@pytest.mark.parametrize("names", ["card", b"card", 7, [7], [""], None, [None]], ids=repr)
def test_something_else_than_names_is_refused(names: Any) -> None:
    with pytest.raises(ConfigurationError, match="secrets= must be names of data fields"):
        Secrecy(names)


@pytest.mark.parametrize("codec", ["key", b"key", object(), json], ids=["text", "bytes", "object", "json"])
def test_something_else_than_a_codec_is_refused(codec: Any) -> None:
    with pytest.raises(ConfigurationError, match="codec= must have encrypt") as refused:
        Secrecy(["card"], codec)

    assert "'key'" not in str(refused.value)


# -- a result that is kept under one name


def test_d27_a_result_under_one_name_is_sealed_before_it_is_nested() -> None:
    secrecy = Secrecy(["card"], OLD)

    stored = secrecy.dumps(ORDER, "result of charge", under="charge")

    assert CARD not in stored
    assert set(json.loads(stored)["charge"]["card"]) == {"$secret"}
    assert secrecy.open(loads(stored)) == {"charge": ORDER}


@pytest.mark.parametrize("result", [ORDER, CARD, None])
def test_d27_a_result_under_a_secrets_name_is_sealed_as_a_whole(result: Any) -> None:
    secrecy = Secrecy(["card", "charge"], OLD)

    stored = secrecy.dumps(result, "result of charge", under="charge")

    assert CARD not in stored
    assert set(json.loads(stored)["charge"]) == {"$secret"}
    assert secrecy.open(loads(stored)) == {"charge": result}
    assert secrecy.hide(loads(stored)) == {"charge": "•••"}


@pytest.mark.parametrize("codec", [None, OLD])
def test_d27_its_secrets_are_hidden_and_taken_out_of_texts(codec: Any) -> None:
    secrecy = Secrecy(["card"], codec)
    stored = loads(secrecy.dumps(ORDER, "result of charge", under="charge"))

    assert secrecy.hide(stored) == {"charge": {"card": "•••", "total": Decimal("9.90")}}
    assert secrecy.redactor(stored)(f"no answer about {CARD}") == "no answer about •••"


def test_a_secret_under_one_name_that_no_key_opens_is_told_by_its_own_name() -> None:
    stored = loads(Secrecy(["card"], OLD).dumps(ORDER, "result of charge", under="charge"))

    assert not Secrecy(["card"], NEW).knows(stored)
    with pytest.raises(SecretUnreadable, match="the field 'card' is stored encrypted"):
        Secrecy(["card"], NEW).open(stored)
