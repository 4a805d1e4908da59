"""From settings to a codec: keys, an object, or where one is; a mistake is told without the key."""

import sys
from typing import Any

import pytest
from cryptography.fernet import Fernet

from sagas import ConfigurationError
from sagas.contrib.keys import codec_of

OLD, NEW = Fernet.generate_key(), Fernet.generate_key()
vault = Fernet(OLD)


def test_nothing_said_is_no_codec() -> None:
    assert codec_of("settings", None, None) is None


def test_keys_encrypt_with_the_first_and_decrypt_with_any() -> None:
    codec = codec_of("settings", None, [NEW.decode(), OLD])
    assert codec is not None

    assert codec.decrypt(Fernet(OLD).encrypt(b"x")) == b"x"
    assert Fernet(NEW).decrypt(codec.encrypt(b"x")) == b"x"


def test_a_codec_is_taken_as_it_is_or_from_where_it_is() -> None:
    assert codec_of("settings", vault, None) is vault
    assert codec_of("settings", f"{__name__}:vault", None) is vault


@pytest.mark.parametrize(
    ("codec", "keys", "says"),
    [
        (vault, [OLD], "has CODEC and KEYS: keep one of them"),
        ("nowhere:vault", None, "cannot be imported"),
        (None, [], "must be a list of Fernet keys"),
        (None, NEW.decode(), "must be a list of Fernet keys"),
        (None, ["hunter2-hunter2"], "holds an invalid Fernet key: make one with"),
        (None, [None], "holds an invalid Fernet key"),
        (None, [NEW.decode()[:-2]], "holds an invalid Fernet key"),
    ],
    ids=["both", "nowhere", "none", "one text", "no key", "nothing", "half a key"],
)
def test_what_cannot_work_is_refused_without_telling_a_key(codec: Any, keys: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as refused:
        codec_of("settings", codec, keys)

    assert "hunter2" not in str(refused.value)
    assert NEW.decode()[:10] not in str(refused.value)


def test_without_the_package_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'celery-sagas\[fernet\]'"):
        codec_of("settings", None, [OLD])
