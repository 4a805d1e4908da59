"""The admin's list and pages of instances: everything can be seen, nothing can be changed."""

from datetime import timedelta
from typing import Any, ClassVar
from unittest.mock import patch
from uuid import uuid4

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from sqlalchemy import event

from sagas import SagaHandle
from sagas.contrib.django import sagas
from sagas.contrib.django.models import Instance, ReadOnly
from sagas.contrib.django.testing import SagaTestCase
from tests.django_project.shop.tests.instances import begin, run
from tests.django_project.shop.tests.people import person

LIST = "/admin/celery_sagas/instance/"


class AdminTestCase(SagaTestCase):
    viewer: ClassVar[Any]

    @classmethod
    def setUpTestData(cls) -> None:
        cls.viewer = person("viewer", "view_instance")

    def setUp(self) -> None:
        self.client.force_login(self.viewer)

    def page(self, instance: SagaHandle) -> str:
        response = self.client.get(f"{LIST}{instance.id}/change/")
        self.assertEqual(response.status_code, 200)
        return response.content.decode()


class ListTests(AdminTestCase):
    completed: ClassVar[SagaHandle]
    compensated: ClassVar[SagaHandle]
    failed: ClassVar[SagaHandle]
    pending: ClassVar[SagaHandle]

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.completed = run(cls, "order-1")
        cls.compensated = run(cls, "order-2", sku="gold")
        cls.failed = run(cls, "order-3", breaking="mail")
        cls.pending = begin(cls, str(uuid4()))

    def shown(self, **query: str) -> list[str]:
        response = self.client.get(LIST, query)
        self.assertEqual(response.status_code, 200)
        return [str(instance.pk) for instance in response.context["cl"].result_list]

    def ids(self, *runs: SagaHandle) -> list[str]:
        return [str(one.id) for one in runs]

    def test_the_newest_come_first(self) -> None:
        everything = self.ids(self.pending, self.failed, self.compensated, self.completed)
        self.assertEqual(self.shown(), everything)

    def test_it_shows_key_saga_status_and_times(self) -> None:
        text = self.client.get(LIST).content.decode()
        for shown in ("order-1", "order", "completed", "compensated", "failed", "0:00:0"):
            self.assertIn(shown, text)

    def test_search_finds_keys_statuses_and_sagas(self) -> None:
        self.assertEqual(self.shown(q="order-2"), self.ids(self.compensated))
        self.assertEqual(self.shown(q="failed"), self.ids(self.failed))
        self.assertEqual(len(self.shown(q="order")), 4)
        self.assertEqual(self.shown(q="order-1 completed"), self.ids(self.completed))
        self.assertEqual(self.shown(q="no mail"), self.ids(self.failed))
        self.assertEqual(self.shown(q="failed completed"), [])
        self.assertEqual(self.shown(q="completed", status__exact="failed"), [])
        self.assertEqual(self.shown(q="100%"), [])
        self.assertEqual(self.shown(q="nul\x00"), self.shown())

    def test_it_tells_why_a_saga_failed_and_search_finds_the_words_of_that(self) -> None:
        one = run(self, "k-1", sku="piano", breaking="refund")

        text = self.client.get(LIST).content.decode()

        why = "compensation of pay: builtins.ConnectionError: the bank does not answer; "
        self.assertIn(why, text)
        self.assertIn("too heavy (in step ", text)
        self.assertEqual(self.shown(q="bank answer"), self.ids(one))
        self.assertEqual(self.shown(q="a reason that nobody gave"), [])

    def test_search_finds_an_id_however_it_is_pasted(self) -> None:
        for pasted in (str(self.failed.id), self.failed.id.hex.upper(), f" {{{self.failed.id}}} "):
            with self.subTest(pasted):
                self.assertEqual(self.shown(q=pasted), self.ids(self.failed))
        self.assertEqual(self.shown(q=str(uuid4())), [])

    def test_search_finds_a_key_that_is_a_uuid(self) -> None:
        self.assertEqual(self.shown(q=self.pending.key or ""), self.ids(self.pending))

    def test_filters(self) -> None:
        self.assertEqual(self.shown(status__exact="failed"), self.ids(self.failed))
        self.assertEqual(self.shown(status__exact="failed", saga="order"), self.ids(self.failed))
        self.assertEqual(self.client.get(LIST, {"status__exact": "lost"}).status_code, 302)
        self.assertEqual(len(self.shown(saga="order")), 4)
        self.assertEqual(self.shown(saga="doubled"), [])
        self.assertEqual(len(self.shown(created_at__gte="2020-01-01 00:00:00+00:00")), 4)
        self.assertIn(">order</a>", self.client.get(LIST).content.decode())

    def test_it_counts_no_further_than_it_goes(self) -> None:
        with patch("sagas.contrib.django.admin.LONGEST_LIST", 2):
            response = self.client.get(LIST)

        self.assertEqual(response.context["cl"].result_count, 2)

    def test_more_instances_cost_no_more_queries(self) -> None:
        with CaptureQueriesContext(connection) as queries:
            self.client.get(LIST)
        for number in range(5):
            begin(self, f"more-{number}")

        with self.assertNumQueries(len(queries)):
            self.client.get(LIST)


class PageTests(AdminTestCase):
    def test_a_failed_instance_tells_its_whole_story(self) -> None:
        text = self.page(run(self, "k-1", sku="piano", breaking="refund"))

        for told in (
            "k-1",
            "<h2>Failed</h2>",
            "order, version 1",
            "Refused: too heavy",  # the first error
            "ConnectionError: the bank does not answer",  # of the compensation
            "Traceback (most recent call last)",
            "refund failed,",
            "2 attempts",
            "release completed",
            "&quot;reservation&quot;: &quot;r-k-1&quot;",  # data and result
            "step_started",
            "needs_a_person",
        ):
            self.assertIn(told, text)
        self.assertIn("<details><summary>", text)

    def test_one_look_at_the_instance_is_all_it_takes(self) -> None:
        one = run(self, "k-1", sku="gold")
        looks: list[str] = []
        engine = sagas.engine.store.database.engine
        event.listen(engine, "before_cursor_execute", lambda *seen: looks.append(seen[2]))

        with self.assertNumQueries(4):  # the session, the user, and whose permissions
            self.page(one)

        # One transaction: its beginning, its mode, the instance, its steps, its events, its end.
        self.assertEqual(len(looks), 6)
        self.assertEqual(sum("saga_instance" in statement for statement in looks), 1)

    def test_secrets_are_dots(self) -> None:
        one = run(self, "k-1", sku="gold", card_number="4111-1111", note="by 4111-1111")

        self.assertEqual(one.data["card_number"], "4111-1111")
        self.assertNotIn("4111-1111", self.page(one))
        self.assertIn("&quot;card_number&quot;: &quot;•••&quot;", self.page(one))

    def test_an_instance_whose_rows_were_edited_by_hand_says_so_on_the_list(self) -> None:
        one = run(self, "k-1")
        with sagas.engine.store.database.autocommit() as library:
            library.exec_driver_sql("UPDATE sagas.saga_instance SET data = '7', error = '7'")

        response = self.client.get(f"{LIST}{one.id}/change/", follow=True)

        self.assertEqual(response.redirect_chain, [(LIST, 302)])
        self.assertIn("were edited by hand", response.content.decode())

    def test_what_users_wrote_is_text_and_no_markup(self) -> None:
        script = "<script>alert('x')</script>"
        one = run(self, f"k-{script}", sku="gold", breaking="release", note=f"</pre>{script}")

        for text in (
            self.page(one),
            self.client.get(LIST).content.decode(),
            self.client.get(f"{LIST}{one.id}/history/").content.decode(),
        ):
            self.assertNotIn(script, text)
            self.assertIn("&lt;script&gt;", text)
        self.assertIn("&lt;b&gt;declined&lt;/b&gt;", self.page(one))
        self.assertNotIn("<b>declined</b>", self.page(one))

    def test_an_instance_that_is_not_there_leads_back_to_the_list(self) -> None:
        for wrong in (uuid4(), "no-id", "_3Cscript_3E"):
            with self.subTest(wrong):
                response = self.client.get(f"{LIST}{wrong}/change/", follow=True)
                self.assertEqual(response.redirect_chain, [(LIST, 302)])
                self.assertContains(response, "There is no saga instance")
                self.assertNotContains(response, "<script>alert")

    def test_an_instance_without_a_key_is_called_by_its_id(self) -> None:
        with self.run_sagas():
            from tests.django_project.shop.tasks import doubled

            one = doubled.start({"order_id": "d"})

        self.assertIn(f"doubled {one.id}", self.page(one))
        self.assertContains(self.client.get(LIST), f">{one.id}</a>")


class NobodyMayTests(AdminTestCase):
    def test_add_change_or_delete(self) -> None:
        one = run(self, "k-1")
        self.viewer.is_superuser = True
        self.viewer.save()
        for url, data in (
            (f"{LIST}add/", {}),
            (f"{LIST}{one.id}/change/", {"status": "failed", "_save": "1"}),
            (f"{LIST}{one.id}/delete/", {"post": "yes"}),
            (LIST, {"action": "delete_selected", "_selected_action": str(one.id), "post": "yes"}),
        ):
            with self.subTest(url):
                self.assertEqual(self.client.post(url, data).status_code, 403)
        self.assertEqual(one.status, "completed")
        self.assertNotContains(self.client.get(LIST), "Add saga instance")

    def test_look_without_permission(self) -> None:
        one = run(self, "k-1")
        self.client.force_login(person("stranger"))
        for url in (LIST, f"{LIST}{one.id}/change/", f"{LIST}{one.id}/history/"):
            self.assertEqual(self.client.get(url).status_code, 403)
        self.client.logout()
        self.assertEqual(self.client.get(LIST).status_code, 302)

    def test_write_through_the_model(self) -> None:
        run(self, "k-1")
        one = Instance.objects.get()
        for write in (
            one.save,
            one.delete,
            lambda: Instance.objects.create(saga="order"),
            lambda: Instance.objects.update(status="completed"),
            lambda: Instance.objects.filter(key="k-1").delete(),
            lambda: Instance.objects.bulk_create([one]),
            lambda: Instance.objects.all().bulk_update([one], ["status"]),
            lambda: Instance.objects.update_or_create(saga="order"),
        ):
            with self.assertRaisesRegex(ReadOnly, "read-only"):
                write()
        self.assertEqual(str(one), "order k-1")
        self.assertEqual(one.handle.status, "completed")
        self.assertEqual(reverse("admin:celery_sagas_instance_change", args=[one.pk]), f"{LIST}{one.pk}/change/")


class PurgedTests(AdminTestCase):
    def test_what_is_left_for_its_key_alone_is_listed_and_has_a_page(self) -> None:
        one = run(self, "k-1")
        sagas.purge(timedelta(microseconds=1), keep_keys=True)

        self.assertContains(self.client.get(LIST), "k-1")
        page = self.page(one)
        self.assertIn("purged", page)
        self.assertNotIn("order_id", page)
        self.assertEqual(run(self, "k-1-again").status, "completed")
