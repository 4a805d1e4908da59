"""Lost connections, timeouts and refusals as real clients raise them, by their own code wherever it can be run."""

import gc
import socket
import sqlite3
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import botocore.errorfactory
import botocore.exceptions
import django.db.utils
import elastic_transport
import httpx
import pika.exceptions
import psycopg
import psycopg2
import pymysql.err
import pytest
import redis.exceptions
import requests
import sqlalchemy.exc
import stripe
import urllib3.exceptions

from sagas.engine.judging import judge
from sagas.model import RetryPolicy, Verdict

#: Clients leave sockets to the garbage collector when a request fails.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    # kafka-python reads its own files in a way that is deprecated
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
NOBODY_LISTENS = "127.0.0.1:9"
NODE = elastic_transport.NodeConfig("http", "127.0.0.1", 9)


def caught(work: Callable[[], Any]) -> Exception:
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError("it raised nothing")


def verdict(error: BaseException, *clean: str | type) -> Verdict:
    return judge(error, RetryPolicy(), "pay", clean=clean).verdict


@pytest.fixture(autouse=True, scope="module")
def _no_socket_is_left() -> Iterator[None]:
    """Collected here, they warn here. Once: with all of these clients imported it takes a tenth of a second."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def answering() -> Iterator[str]:
    """A server that answers with the status that is asked for."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = int(self.path[1:])
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "7")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Keep the tests' output free of it."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


# -- a server that is not there

UNREACHABLE: dict[str, Callable[[], Any]] = {
    "socket": lambda: socket.create_connection(("127.0.0.1", 9)),
    "urllib": lambda: urllib.request.urlopen(f"http://{NOBODY_LISTENS}"),
    "requests": lambda: requests.get(f"http://{NOBODY_LISTENS}", timeout=1),
    "httpx": lambda: httpx.get(f"http://{NOBODY_LISTENS}"),
    "elastic_transport": lambda: elastic_transport.Transport([NODE], max_retries=0).perform_request("GET", "/"),
    "psycopg2": lambda: psycopg2.connect("host=127.0.0.1 port=9"),
    "psycopg": lambda: psycopg.connect("host=127.0.0.1 port=9"),
    "pymysql": lambda: pymysql.connect(host="127.0.0.1", port=9),
    "redis": lambda: redis.Redis(port=9, retry=None).ping(),
    "subprocess": lambda: subprocess.run([sys.executable, "-c", "import time; time.sleep(9)"], timeout=0.01),
}


@pytest.mark.parametrize("work", UNREACHABLE.values(), ids=UNREACHABLE)
def test_a_server_that_is_not_there_is_asked_again_and_its_answer_is_open(work: Callable[[], Any]) -> None:
    assert verdict(caught(work)) is Verdict.RETRYABLE


# -- errors as their clients make them

AWS = {
    "throttled": {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 400}},
    "unavailable": {"Error": {"Code": "ServiceUnavailable"}, "ResponseMetadata": {"HTTPStatusCode": 503}},
}
OPEN: dict[str, BaseException] = {
    "stripe, lost": stripe.APIConnectionError("Unexpected error communicating with Stripe", should_retry=False),
    "stripe, limited": stripe.RateLimitError("Too many requests", http_status=429),
    "stripe, 500": stripe.APIError("An error occurred", http_status=500),
    "botocore, endpoint": botocore.exceptions.EndpointConnectionError(endpoint_url="https://sqs"),
    "botocore, read": botocore.exceptions.ReadTimeoutError(endpoint_url="https://sqs"),
    "botocore, closed": botocore.exceptions.ConnectionClosedError(endpoint_url="https://sqs"),
    "botocore, throttled": botocore.exceptions.ClientError(AWS["throttled"], "SendMessage"),
    "botocore, unavailable": botocore.exceptions.ClientError(AWS["unavailable"], "SendMessage"),
    "pika, lost": pika.exceptions.AMQPConnectionError("gone"),
    "pika, stream": pika.exceptions.StreamLostError("gone"),
    "pika, closed": pika.exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED"),
    "pymysql, lost": pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query"),
    "pymysql, interface": pymysql.err.InterfaceError(0, ""),
    "psycopg2, operational": psycopg2.OperationalError("server closed the connection unexpectedly"),
    "psycopg2, interface": psycopg2.InterfaceError("connection already closed"),
    "psycopg, interface": psycopg.InterfaceError("the connection is closed"),
    "sqlite3": sqlite3.OperationalError("database is locked"),
    "django, operational": django.db.utils.OperationalError("server closed the connection"),
    "django, interface": django.db.utils.InterfaceError("connection already closed"),
    "sqlalchemy, interface": sqlalchemy.exc.InterfaceError("SELECT 1", {}, Exception("closed")),
    "sqlalchemy, pool": sqlalchemy.exc.TimeoutError("QueuePool limit of size 5 overflow 10 reached"),
    "elastic, lost": elastic_transport.ConnectionError("refused"),
    "elastic, timeout": elastic_transport.ConnectionTimeout("timed out"),
    "redis, busy": redis.exceptions.TimeoutError("Timeout reading from socket"),
    "urllib3": urllib3.exceptions.ProtocolError("Connection broken"),
    "ssl": ssl.SSLError("EOF occurred in violation of protocol"),
    "subprocess": subprocess.TimeoutExpired("pay", 3),
}


@pytest.mark.parametrize("error", OPEN.values(), ids=OPEN)
def test_what_a_client_says_of_a_lost_connection_or_of_throttling_is_tried_again(error: BaseException) -> None:
    assert verdict(error) is Verdict.RETRYABLE


def test_kafkas_own_word_is_taken() -> None:
    import kafka.errors as errors  # only here, where its warnings are expected

    for kind in (errors.KafkaTimeoutError, errors.KafkaConnectionError, errors.RequestTimedOutError):
        assert verdict(kind()) is Verdict.RETRYABLE, kind


NO: dict[str, BaseException] = {
    "stripe, declined": stripe.CardError("Your card was declined.", param=None, code="card_declined", http_status=402),
    "stripe, invalid": stripe.InvalidRequestError("No such customer", param="customer", http_status=400),
    "botocore, denied": botocore.exceptions.ClientError(
        {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "SendMessage"
    ),
    "psycopg2, unique": psycopg2.IntegrityError("duplicate key value violates unique constraint"),
}


@pytest.mark.parametrize("error", NO.values(), ids=NO)
def test_a_refusal_is_not_tried_again_and_in_doubt_unless_it_is_named(error: BaseException) -> None:
    assert verdict(error) is Verdict.UNKNOWN
    assert verdict(error, type(error)) is Verdict.CLEAN_NO


# -- answers over HTTP

GET: dict[str, Callable[[str], Any]] = {
    "requests": lambda url: requests.get(url, timeout=5).raise_for_status(),
    "httpx": lambda url: httpx.get(url).raise_for_status(),
    "urllib": lambda url: urllib.request.urlopen(url),
}


@pytest.mark.parametrize("get", GET.values(), ids=GET)
@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_an_answer_that_leaves_it_open_is_tried_again_and_never_clean(
    answering: str, get: Callable[[str], Any], status: int
) -> None:
    error = caught(lambda: get(f"{answering}/{status}"))

    assert verdict(error) is Verdict.RETRYABLE
    assert verdict(error, requests.HTTPError, httpx.HTTPStatusError, urllib.error.HTTPError) is Verdict.RETRYABLE


@pytest.mark.parametrize("get", GET.values(), ids=GET)
@pytest.mark.parametrize("status", [400, 402, 404, 409])
def test_d5_naming_a_clients_http_error_as_clean_means_its_refusals(
    answering: str, get: Callable[[str], Any], status: int
) -> None:
    error = caught(lambda: get(f"{answering}/{status}"))

    assert verdict(error) is Verdict.UNKNOWN
    assert verdict(error, requests.HTTPError, httpx.HTTPStatusError, urllib.error.HTTPError) is Verdict.CLEAN_NO


@pytest.mark.parametrize("get", GET.values(), ids=GET)
def test_the_wait_that_a_real_answer_asks_for_is_read(answering: str, get: Callable[[str], Any]) -> None:
    error = caught(lambda: get(f"{answering}/429"))

    assert judge(error, RetryPolicy(), "pay").retry_after == 7.0


# -- bases that are named as clean


@pytest.mark.parametrize("name", [stripe.StripeError, "stripe.StripeError", "stripe.error.StripeError"])
def test_d5_the_base_of_all_errors_of_a_client_does_not_make_its_lost_connections_clean(name: str | type) -> None:
    lost = stripe.APIConnectionError("Unexpected error communicating with Stripe", should_retry=False)

    assert not verdict(lost, name, stripe.StripeError).is_clean
    assert not verdict(stripe.APIError("overloaded", http_status=503), name, stripe.StripeError).is_clean


def test_d5_an_answer_that_is_not_json_is_not_clean_by_its_base() -> None:
    with closing(requests.Response()) as answer:
        answer._content = b"<html>"
        error = caught(answer.json)

    assert isinstance(error, ValueError)
    assert not verdict(error).is_clean
