"""Traces and tenants of the real packages: OpenTelemetry, Sentry, django-tenants with tenant-schemas-celery."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.celery.utils import CTX_KEY
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sagas import SagaStatus
from tests.conftest import Shop
from tests.support import journal, queues, scripted
from tests.support.deploys import let_time_pass
from tests.support.inline import run_messages
from tests.support.programs import briefly
from tests.support.workers import ROOT, Worker, eventually


def run_module(name: str, shop: Shop) -> str:
    servers = {"SAGAS_DATABASE_URL": shop.database_url, "SAGAS_BROKER_URL": shop.broker_url, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", name], cwd=ROOT, env=os.environ | servers, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


# -- OpenTelemetry


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What the instrumentation of Celery records in this process."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = CeleryInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    exporter.tracer = provider.get_tracer(__name__)  # type: ignore[attr-defined]
    yield exporter
    instrumentor.uninstrument()


def runs_of(spans: InMemorySpanExporter, number: int) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name.startswith("run/") and trace_of(span) == number]


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


def test_d9_opentelemetry_keeps_no_span_of_the_capture(shop: Shop, spans: InMemorySpanExporter) -> None:
    with spans.tracer.start_as_current_span("request") as request:  # type: ignore[attr-defined]
        run = shop.start(scripted.three)

        assert trace.get_current_span() is request
    assert not getattr(scripted.act, CTX_KEY, None)
    assert run.snapshot().headers == ["traceparent"]


def test_d23_a_sagas_spans_are_in_its_callers_trace_whoever_sends_its_messages(
    shop: Shop, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)  # where the steps' journal is
    traces = []
    runs = []
    for script in ({"c": ["no"]}, {}):
        with spans.tracer.start_as_current_span("request") as request:  # type: ignore[attr-defined]
            runs.append(shop.start(scripted.three, script))
            traces.append(request.get_span_context().trace_id)
    # Their messages are lost, and an operator's hand sends them.
    queues.forget_everything(shop.sagas)
    with spans.tracer.start_as_current_span("operator"):  # type: ignore[attr-defined]
        for run in runs:
            shop.sagas.engine.store.sweeping.hasten(run.id)
            let_time_pass(shop, run)
        shop.sagas.sweep()
    (first, second) = (queues.of(run.id, queues.queued(shop.sagas))[0] for run in runs)
    (operators,) = first["saga_links"]
    assert operators["traceparent"] != first["traceparent"]
    spans.clear()
    while run_messages(shop.sagas.app) or run_messages(shop.sagas.app, "sagas"):
        pass

    assert [run.status for run in runs] == [SagaStatus.COMPENSATED, SagaStatus.COMPLETED]
    assert second["traceparent"].split("-")[1] == f"{traces[1]:032x}"
    names = [span.name.rpartition(".")[2] for span in runs_of(spans, traces[0])]
    assert names == ["act", "act", "act", "on_error", "undo", "undo"]
    assert len(runs_of(spans, traces[1])) == 3
    # Each step's message was sent within the step before, so the spans make a chain.
    own = runs_of(spans, traces[1])
    parents = {span.context.span_id: span for span in spans.get_finished_spans() if span.context}
    for before, after in pairwise(own):
        assert after.parent is not None
        publish = parents[after.parent.span_id]
        assert publish.parent is not None
        assert before.context is not None
        assert publish.parent.span_id == before.context.span_id


# -- Sentry


def test_d7_a_real_worker_with_sentry_runs_every_step_and_undo_in_its_callers_trace(shop: Shop, tmp_path: Path) -> None:
    started = json.loads(run_module("tests.support.sentry_traces", shop))
    servers = {"SAGAS_DATABASE_URL": shop.database_url, "SAGAS_BROKER_URL": shop.broker_url}
    worker = Worker(servers, tmp_path / "app.log", application="tests.support.sentry_traces", arguments=("-c", "1"))

    with briefly(worker):
        for saga_id in started:
            eventually(lambda saga_id=saga_id: shop.sagas.get(saga_id).status.is_final, f"saga {saga_id} to end")

    for saga_id, own in started.items():
        effects = journal.effects(shop.database_url, shop.sagas.get(saga_id).id)
        assert effects == [f"{what} of {own}" for what in ("a", "b", "c", "undo b", "undo a")]


# -- Tenants


def test_d7_django_tenants_steps_run_in_the_schema_that_started_them(shop: Shop) -> None:
    told = json.loads(run_module("tests.support.tenancy", shop))

    assert told == {
        "acme": ["compensated", *(f"{what} in acme" for what in ("a", "b", "c", "undo b", "undo a"))],
        "other": ["completed", *(f"{what} in other" for what in "abc")],
    }
