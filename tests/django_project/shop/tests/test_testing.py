"""`SagaTestCase` and `SagaTransactionTestCase`, as a user's own tests use them."""

import time
from contextlib import suppress
from typing import ClassVar
from unittest.mock import patch

from django.db import connection, transaction
from django.test import TestCase, tag

from sagas import ConfigurationError, SagaHandle, SagaStatus, StartInProgress
from sagas.contrib.django import sagas
from sagas.contrib.django.models import Instance
from sagas.contrib.django.testing import SagaTestCase, SagaTransactionTestCase
from sagas.signals import saga_started
from sagas.testing import fail_everywhere
from tests.django_project.shop.models import Order
from tests.django_project.shop.tasks import broken, doubled, endless, happened, order


class Bug(Exception):
    pass


def place(key: str = "1", sku: str = "pen") -> SagaHandle:
    Order.objects.create(pk=key, sku=sku)
    return order.start({"order_id": key}, key=key)


class ShopTestCase(SagaTestCase):
    def setUp(self) -> None:
        happened.clear()
        broken.clear()
        self.addCleanup(broken.clear)


class SagaTestCaseTests(ShopTestCase):
    def setUp(self) -> None:
        super().setUp()
        # What an earlier test started is gone
        self.assertEqual(Instance.objects.count(), 0)
        self.assertEqual(Order.objects.count(), 0)

    @tag("driver", "bare")
    def test_what_a_view_starts_has_ended_after_the_block(self) -> None:
        with self.run_sagas():
            self.client.post("/orders/", {"id": "1", "sku": "pen"})
            self.assertEqual(happened, [])

        run = sagas.find(saga="order", key="1")
        self.assertIsNotNone(run)
        self.assertIs(run.status, SagaStatus.COMPLETED)
        # The steps saw the order that this test has not committed, and the test sees what they wrote
        self.assertEqual(Order.objects.get().state, "shipped")

    def test_d31_it_is_the_same_in_an_eager_suite_and_outside_of_the_block_a_start_is_refused(self) -> None:
        conf = sagas.app.conf
        for name in ("task_always_eager", "task_eager_propagates"):
            self.addCleanup(setattr, conf, name, conf[name])
            conf[name] = True

        with self.run_sagas():
            run = place(sku="gold")
            self.assertEqual(happened, [])

        self.assertIs(run.status, SagaStatus.COMPENSATED)
        self.assertEqual(happened, ["reserve", "reserve committed", "release"])
        with self.assertRaisesMessage(ConfigurationError, "task_always_eager is set"):
            place("2")
        self.assertEqual(Instance.objects.count(), 1)

    def test_d34_each_step_fails_before_and_after_its_effect_and_is_undone(self) -> None:
        Order.objects.create(pk="1", sku="pen")

        runs = fail_everywhere(sagas, order, {"order_id": "1"}, inside=self.run_sagas)

        self.assertEqual([run.status for run in runs], [SagaStatus.COMPENSATED] * 5)
        self.assertEqual(happened.count("refund"), 3)

    def test_on_commit_of_a_step_runs_before_the_next_step(self) -> None:
        with self.run_sagas():
            place()

        self.assertEqual(happened, ["reserve", "reserve committed", "pay", "ship", "thank"])

    @tag("driver")
    def test_a_refusal_compensates(self) -> None:
        with self.run_sagas():
            run = place(sku="gold")

        self.assertIs(run.status, SagaStatus.COMPENSATED)
        self.assertEqual(happened, ["reserve", "reserve committed", "release"])
        self.assertEqual(Order.objects.get().state, "released")

    def test_on_commit_of_the_block_runs_at_its_end(self) -> None:
        with self.run_sagas():
            with transaction.atomic():
                place()
                transaction.on_commit(lambda: happened.append("committed"))
            self.assertEqual(happened, [])

        self.assertEqual(happened.count("committed"), 1)

    def test_an_atomic_that_rolls_back_takes_its_start_with_it(self) -> None:
        with self.run_sagas():
            kept = place("kept")
            with self.assertRaises(Bug), transaction.atomic():
                with transaction.atomic():
                    place("lost")
                raise Bug

        self.assertEqual(list(Instance.objects.values_list("key", flat=True)), ["kept"])
        self.assertIs(kept.status, SagaStatus.COMPLETED)

    @tag("driver")
    def test_a_savepoint_that_rolls_back_in_an_atomic_that_commits(self) -> None:
        with self.run_sagas(), transaction.atomic():
            place("kept")
            with self.assertRaises(Bug), transaction.atomic():
                place("lost")
                raise Bug

        self.assertEqual(list(Instance.objects.values_list("key", flat=True)), ["kept"])

    def test_the_key_of_a_start_that_was_rolled_back_is_free_again(self) -> None:
        with self.run_sagas():
            with self.assertRaises(Bug), transaction.atomic():
                first = place()
                raise Bug
            second = place()

        self.assertNotEqual(first, second)
        self.assertIs(second.status, SagaStatus.COMPLETED)
        self.assertEqual(Instance.objects.count(), 1)

    def test_the_same_key_twice_is_one_instance_that_runs_once(self) -> None:
        with self.run_sagas():
            first = place()
            with transaction.atomic():
                self.assertEqual(order.start({"order_id": "1"}, key="1"), first)
        with self.run_sagas():
            self.assertEqual(order.start({"order_id": "1"}, key="1"), first)

        self.assertEqual(happened.count("pay"), 1)

    def test_two_sagas_both_end(self) -> None:
        with self.run_sagas():
            runs = [place("1"), place("2", sku="gold")]

        self.assertEqual([run.status for run in runs], ["completed", "compensated"])

    @tag("driver")
    def test_a_saga_that_a_step_starts_ends_too(self) -> None:
        with self.run_sagas():
            doubled.start({"order_id": "1"})

        self.assertIs(sagas.find(saga="order", key="1-2").status, SagaStatus.COMPLETED)

    def test_blocks_may_follow_and_surround_one_another(self) -> None:
        announced = []

        def heard(key: str, **_: object) -> None:
            announced.append(key)

        saga_started.connect(heard)
        self.addCleanup(saga_started.disconnect, heard)
        with self.run_sagas():
            outer = place("1")
            with self.run_sagas():
                inner = place("2")
            self.assertIs(inner.status, SagaStatus.COMPLETED)
        with self.run_sagas():
            last = place("3")

        self.assertEqual([outer.status, last.status], ["completed", "completed"])
        self.assertEqual(sorted(announced), ["1", "2", "3"])
        self.assertEqual(happened.count("pay"), 3)

    def test_a_block_that_raises_runs_nothing(self) -> None:
        with self.assertRaises(Bug), self.run_sagas():
            place()
            raise Bug

        self.assertEqual(happened, [])

    def test_outside_of_a_block_a_start_waits_for_a_commit_that_never_comes(self) -> None:
        with transaction.atomic():
            place()

        self.assertIsNone(sagas.find(saga="order", key="1"))
        # In a block it would wait for the test's own transaction, and so for ever
        patience = patch("sagas.store.starting.KEY_WAIT", "50ms")
        with patience, self.run_sagas(), self.assertRaises(StartInProgress):
            order.start({"order_id": "1"}, key="1")

    @patch("sagas.testing.inline.LONGEST_WAITS", 5)
    def test_a_saga_that_will_not_end_fails_the_test_with_its_timeline(self) -> None:
        with self.assertRaisesRegex(AssertionError, "did not end(.|\n)*again and again"), self.run_sagas():
            endless.start({"order_id": "1"})

    def test_a_failed_saga_goes_on_when_it_is_retried(self) -> None:
        broken.add("release")
        with self.run_sagas():
            run = place(sku="gold")
        self.assertIs(run.status, SagaStatus.FAILED)

        broken.clear()
        with self.run_sagas():
            run.retry("the warehouse answers again")
        self.assertIs(run.status, SagaStatus.COMPENSATED)

    def test_a_broker_that_was_away_a_moment_ago_does_not_matter(self) -> None:
        sagas.engine.impatient_sender._broken_until = time.monotonic() + 60
        self.addCleanup(sagas.engine.impatient_sender.try_again)
        with self.run_sagas():
            run = place()

        self.assertIs(run.status, SagaStatus.COMPLETED)


class SetUpTestDataTests(ShopTestCase):
    run_before: ClassVar[SagaHandle]

    @classmethod
    def setUpTestData(cls) -> None:
        with cls.run_sagas():
            cls.run_before = place("before")

    def test_what_it_started_is_there(self) -> None:
        self.assertIs(self.run_before.status, SagaStatus.COMPLETED)
        self.assertEqual(Order.objects.get().state, "shipped")
        with self.run_sagas():
            place("now")
        self.assertEqual(Instance.objects.count(), 2)

    def test_what_it_started_is_there_in_every_test_and_what_a_test_started_is_not(self) -> None:
        self.test_what_it_started_is_there()


class SeveralDatabasesTests(ShopTestCase):
    databases = {"default", "other", "same"}

    def test_sagas_run_whatever_other_databases_the_test_uses(self) -> None:
        with self.run_sagas(), transaction.atomic(using="other"):
            Order.objects.using("other").create(pk="elsewhere", sku="pen")
            run = place()

        self.assertIs(run.status, SagaStatus.COMPLETED)


class OtherDatabasesOnlyTests(ShopTestCase):
    databases = {"other"}

    def test_the_sagas_database_must_be_among_the_tests_databases(self) -> None:
        with (
            self.assertRaisesRegex(ConfigurationError, "add it to OtherDatabasesOnlyTests.databases"),
            self.run_sagas(),
        ):
            order.start({"order_id": "1"})


class PlainTests(TestCase):
    def test_in_a_plain_test_case_a_start_vanishes_with_the_test(self) -> None:
        run = place()

        self.assertTrue(Instance.objects.filter(pk=run.id).exists())
        self.assertIsNone(sagas.find(saga="order", key="1"))


@tag("driver")
class SagaTransactionTestCaseTests(SagaTransactionTestCase):
    def setUp(self) -> None:
        happened.clear()
        self.assertEqual(Instance.objects.count(), 0)
        self.assertFalse(connection.in_atomic_block)

    def test_what_is_committed_in_the_block_has_ended_after_it(self) -> None:
        with self.run_sagas():
            self.client.post("/orders/", {"id": "1", "sku": "pen"})
            with suppress(ValueError):
                self.client.post("/orders/", {"id": "2", "sku": "bad"})

        (instance,) = Instance.objects.all()
        self.assertEqual((instance.key, instance.status), ("1", "completed"))
        self.assertEqual(happened, ["reserve committed", "reserve", "pay", "ship", "thank"])

    def test_a_refusal_compensates(self) -> None:
        with self.run_sagas():
            run = place(sku="gold")

        self.assertIs(run.status, SagaStatus.COMPENSATED)

    def test_a_saga_that_a_step_starts_ends_too(self) -> None:
        with self.run_sagas():
            doubled.start({"order_id": "1"})

        self.assertIs(sagas.find(saga="order", key="1-2").status, SagaStatus.COMPLETED)
