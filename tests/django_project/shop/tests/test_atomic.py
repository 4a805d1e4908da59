"""`start()` inside `transaction.atomic()`: with the business row or not at all, and sent after the commit."""

from datetime import UTC, datetime
from decimal import Decimal
from unittest.mock import patch
from uuid import UUID

from django.db import IntegrityError, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test import tag

from sagas import InstanceNotFound, MissingInput, SagaHandle, SagaStatus, StartInProgress, StartRefused
from sagas.contrib.django import sagas
from sagas.contrib.django.models import Instance
from sagas.contrib.django.testing import SagaTransactionTestCase
from sagas.contrib.django.transaction import surrounding_transaction
from tests.django_project.shop.models import Order
from tests.django_project.shop.tasks import order
from tests.django_project.shop.tests import broker
from tests.support.choreographed import Noted, Ordered, ring


class Bug(Exception):
    pass


def place(key: str = "1", using: str | None = None) -> SagaHandle:
    """What a view does."""
    Order.objects.using(using).create(pk=key, sku="pen")
    return order.start({"order_id": key}, key=key)


class AtomicTestCase(SagaTransactionTestCase):
    databases = {"default", "same", "bound"}

    def setUp(self) -> None:
        broker.empty()

    def assert_started(self, *keys: str) -> None:
        """These orders, their sagas and their messages are there, and nothing else."""
        self.assertEqual(set(Order.objects.values_list("pk", flat=True)), set(keys))
        self.assertEqual(set(Instance.objects.values_list("key", flat=True)), set(keys))
        self.assertEqual(broker.messages(), len(keys))


@tag("driver")
class PublishInAtomicTests(AtomicTestCase):
    """Events are published with the business row or not at all (E6)."""

    def setUp(self) -> None:
        super().setUp()
        sagas.register()

    @staticmethod
    def publish(key: str) -> SagaHandle:
        """What a view does."""
        Order.objects.create(pk=key, sku="pen")
        run = ring.start(Ordered(script={}), key=key)
        ring.publish(Noted(script={}, number=1), run=run)
        return run

    def test_the_commit_publishes_and_sends(self) -> None:
        with transaction.atomic():
            run = self.publish("1")
            self.assertEqual(broker.messages(), 0)

        self.assertEqual([step.name for step in run.steps], ["reserve", "note"])
        self.assertEqual(broker.messages(), 2)

    def test_an_exception_publishes_nothing(self) -> None:
        with self.assertRaises(Bug), transaction.atomic():
            self.publish("1")
            raise Bug

        self.assert_started()

    def test_a_savepoint_that_rolls_back_takes_its_events_with_it(self) -> None:
        with transaction.atomic():
            run = ring.start(Ordered(script={}), key="1")
            with self.assertRaises(Bug), transaction.atomic():
                ring.publish(Noted(script={}, number=1), run=run)
                raise Bug

        self.assertEqual([step.name for step in run.steps], ["reserve"])


@tag("driver")
class StartInAtomicTests(AtomicTestCase):
    def test_the_commit_is_the_start_and_sends_once(self) -> None:
        with transaction.atomic():
            run = place()
            self.assertEqual(broker.messages(), 0)
            with self.assertRaises(InstanceNotFound):
                _ = run.status

        self.assertIs(run.status, SagaStatus.PENDING)
        self.assert_started("1")

    def test_an_exception_leaves_no_row_and_sends_nothing(self) -> None:
        with self.assertRaises(Bug), transaction.atomic():
            place()
            raise Bug

        self.assert_started()

    def test_set_rollback_leaves_no_row_and_sends_nothing(self) -> None:
        with transaction.atomic():
            place()
            transaction.set_rollback(True)

        self.assert_started()

    def test_a_savepoint_that_rolls_back_takes_its_start_with_it(self) -> None:
        with transaction.atomic():
            place("kept")
            with self.assertRaises(Bug), transaction.atomic():
                place("lost")
                with transaction.atomic():
                    place("lost too")
                raise Bug
            place("kept too")

        self.assert_started("kept", "kept too")

    def test_a_released_savepoint_sends_nothing_before_the_outer_commit(self) -> None:
        with transaction.atomic():
            with transaction.atomic():
                place()
            self.assertEqual(broker.messages(), 0)

        self.assert_started("1")

    def test_a_released_savepoint_is_lost_with_the_outer_rollback(self) -> None:
        with self.assertRaises(Bug), transaction.atomic():
            with transaction.atomic():
                place()
            raise Bug

        self.assert_started()

    def test_outside_of_a_transaction_it_is_committed_at_once(self) -> None:
        self.assertIs(place().status, SagaStatus.PENDING)
        self.assert_started("1")

    def test_in_a_durable_block_too(self) -> None:
        with transaction.atomic(durable=True):
            place()

        self.assert_started("1")

    def test_the_same_key_twice_is_one_instance_and_one_message(self) -> None:
        with transaction.atomic():
            first = place()
            self.assertEqual(order.start({"order_id": "1"}, key="1"), first)
        with transaction.atomic():
            self.assertEqual(order.start({"order_id": "1"}, key="1"), first)

        self.assert_started("1")

    def test_data_comes_back_as_it_was(self) -> None:
        data = {
            "order_id": "100% {a} :b %(c)s 'd' \\e ü",
            "total": Decimal("9.90"),
            "at": datetime(2026, 1, 2, tzinfo=UTC),
            "id": UUID(int=7),
        }
        for alias in ("default", "same", "bound"):
            with self.subTest(alias), transaction.atomic(using=alias):
                run = order.start(data, key=f"50%-{alias}", deadline=60)
            self.assertEqual(run.data, data)
            self.assertEqual(sagas.find(saga="order", key=f"50%-{alias}"), run)

    def test_a_start_that_is_refused_leaves_the_transaction_usable(self) -> None:
        with transaction.atomic():
            with self.assertRaises(MissingInput):
                order.start({}, key="1")
            place("2")

        self.assert_started("2")

    def test_a_transaction_that_must_roll_back_refuses_it_as_it_refuses_every_query(self) -> None:
        with self.assertRaises(TransactionManagementError), transaction.atomic():
            Order.objects.create(pk="1", sku="pen")
            try:
                with transaction.atomic(savepoint=False):
                    Order.objects.create(pk="1", sku="pen")
            except IntegrityError:
                pass
            order.start({"order_id": "2"}, key="2")

        self.assert_started()

    @patch("sagas.store.starting.KEY_WAIT", "50ms")
    def test_h6_a_key_held_by_another_open_transaction_costs_a_moment_and_no_transaction(self) -> None:
        with transaction.atomic(using="same"):
            order.start({"order_id": "1"}, key="1")
            with transaction.atomic():
                Order.objects.create(pk="before", sku="pen")
                with self.assertRaisesRegex(StartInProgress, "key '1' is being started in another open transaction"):
                    order.start({"order_id": "1"}, key="1")
                Order.objects.create(pk="after", sku="pen")
                with connections["default"].cursor() as cursor:
                    cursor.execute("SHOW lock_timeout")
                    self.assertEqual(cursor.fetchone(), ("0",))

        self.assertEqual(Order.objects.count(), 2)
        self.assertEqual(Instance.objects.count(), 1)


@tag("driver")
class OtherAliasesTests(AtomicTestCase):
    databases = {"default", "same", "bound", "other", "lite"}

    def test_another_alias_of_the_same_database_is_joined(self) -> None:
        for alias in ("same", "bound"):
            with self.subTest(alias):
                with self.assertRaises(Bug), transaction.atomic(using=alias):
                    place(alias, using=alias)
                    raise Bug
                self.assertFalse(Instance.objects.filter(key=alias).exists())

                with transaction.atomic(using=alias):
                    run = place(alias, using=alias)
                    with self.assertRaises(InstanceNotFound):
                        _ = run.status
                self.assertIs(run.status, SagaStatus.PENDING)

        self.assert_started("same", "bound")

    def test_a_transaction_on_another_database_is_refused(self) -> None:
        for alias in ("other", "lite"):
            with self.subTest(alias), transaction.atomic(using=alias):
                with self.assertRaisesRegex(StartRefused, f"atomic\\(using='{alias}'\\).* sagas live in .*'default'"):
                    order.start({"order_id": "1"})
                # It is unharmed
                with connections[alias].cursor() as cursor:
                    cursor.execute("SELECT 1")
        self.assertEqual(broker.messages(), 0)

    def test_with_both_open_the_one_of_the_sagas_counts(self) -> None:
        with transaction.atomic(using="other"):
            with self.assertRaises(Bug), transaction.atomic():
                place("lost")
                raise Bug
            with transaction.atomic():
                place("kept")
            self.assert_started("kept")

    def test_with_autocommit_off_it_is_refused(self) -> None:
        transaction.set_autocommit(False)
        try:
            with self.assertRaisesRegex(StartRefused, "autocommit off.* Use transaction.atomic\\(\\)"):
                place()
            transaction.rollback()
        finally:
            transaction.set_autocommit(True)

        self.assert_started()

    def test_with_autocommit_off_in_the_settings_it_is_refused_before_there_is_a_connection(self) -> None:
        connections["manual"].close()
        with self.assertRaisesRegex(StartRefused, "'manual' with autocommit off"):
            surrounding_transaction("manual")


class RequestTests(AtomicTestCase):
    def test_a_view_that_fails_starts_nothing(self) -> None:
        with self.assertRaises(ValueError):
            self.client.post("/orders/", {"id": "1", "sku": "bad"})
        self.assert_started()

        self.assertEqual(self.client.post("/orders/", {"id": "1", "sku": "pen"}).status_code, 201)
        self.assert_started("1")

    def test_with_atomic_requests_the_request_is_the_transaction(self) -> None:
        with patch.dict(connections["default"].settings_dict, ATOMIC_REQUESTS=True):
            with self.assertRaises(ValueError):
                self.client.post("/orders/bare/", {"id": "1", "sku": "bad"})
            self.assert_started()

            self.assertEqual(self.client.post("/orders/bare/", {"id": "1", "sku": "pen"}).status_code, 201)
        self.assert_started("1")
