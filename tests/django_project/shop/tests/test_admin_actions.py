"""Retry, cancel, skip and resolve in the admin: with a reason, with a permission, and on the record."""

import json
from typing import Any, ClassVar
from unittest.mock import patch
from uuid import UUID

from django.contrib.admin.models import CHANGE, LogEntry
from django.http import HttpResponse

from sagas import SagaHandle, SagaStatus
from sagas.contrib.django import sagas
from sagas.contrib.django.models import Instance
from sagas.contrib.django.testing import SagaTestCase
from tests.django_project.shop.tasks import gift, happened
from tests.django_project.shop.tests.instances import begin, park, run
from tests.django_project.shop.tests.people import person

LIST = "/admin/celery_sagas/instance/"
WHY = "the customer called"
VERBS = ("retry", "cancel", "skip", "resolve")


class ActionTestCase(SagaTestCase):
    operator: ClassVar[Any]

    @classmethod
    def setUpTestData(cls) -> None:
        verbs = ("retry_instance", "cancel_instance", "skip_instance", "resolve_instance")
        cls.operator = person("olga", "view_instance", *verbs)

    def setUp(self) -> None:
        self.client.force_login(self.operator)
        happened.clear()

    def choose(self, verb: str, *runs: SagaHandle, **more: str) -> HttpResponse:
        """In the list: select some, and an action."""
        data = {"action": f"{verb}_selected", "_selected_action": [one.id for one in runs], "index": "0"}
        return self.client.post(LIST, data | more)

    def confirm(self, verb: str, *runs: SagaHandle, reason: str = WHY, url: str = LIST, **more: str) -> HttpResponse:
        """On the page that asks: answer. Whatever has to run then runs."""
        data = {"action": f"{verb}_selected", "_selected_action": [one.id for one in runs], "reason": reason}
        with self.run_sagas():
            return self.client.post(url, data | more, follow=True)

    def noted(self, one: SagaHandle, event: str) -> dict[str, Any]:
        (entry,) = [entry for entry in one.history() if entry.event == event]
        return dict(entry.detail)


class RetryTests(ActionTestCase):
    def test_it_asks_for_the_reason_before_anything_happens(self) -> None:
        one = run(self, "k-1", breaking="mail")

        asked = self.choose("retry", one)

        self.assertContains(asked, 'name="reason"')
        self.assertContains(asked, "order k-1")
        self.assertContains(asked, str(one.id))
        self.assertIs(one.status, SagaStatus.FAILED)
        self.assertFalse(LogEntry.objects.exists())

    def test_a_blank_reason_is_refused(self) -> None:
        one = run(self, "k-1", breaking="mail")
        for blank in ("", "  \t"):
            with self.subTest(blank):
                self.assertContains(self.confirm("retry", one, reason=blank), "Give a reason")
        self.assertIs(one.status, SagaStatus.FAILED)

    def test_it_goes_on_and_both_histories_say_who_and_why(self) -> None:
        one = run(self, "k-1", breaking="mail")

        done = self.confirm("retry", one)

        self.assertRedirects(done, LIST)
        self.assertContains(done, "Retried: order k-1")
        self.assertIs(one.status, SagaStatus.COMPLETED)
        self.assertEqual(self.noted(one, "retry_requested"), {"reason": WHY, "by": "olga"})
        entry = LogEntry.objects.get()
        self.assertEqual((entry.user, entry.action_flag), (self.operator, CHANGE))
        self.assertEqual((entry.object_id, entry.change_message), (str(one.id), f"Retried: {WHY}"))
        self.assertContains(self.client.get(f"{LIST}{one.id}/history/"), WHY)

    def test_what_is_refused_is_named_and_the_others_go_through(self) -> None:
        good, failed = run(self, "good"), run(self, "bad", breaking="mail")

        done = self.confirm("retry", good, failed)

        self.assertContains(done, "Refused for order good: saga ")
        self.assertContains(done, "is completed and cannot be retried")
        self.assertContains(done, "Retried: order bad")
        self.assertIs(failed.status, SagaStatus.COMPLETED)
        self.assertEqual([entry.object_id for entry in LogEntry.objects.all()], [str(failed.id)])

    def test_an_instance_that_vanished_meanwhile_is_named_and_the_others_go_through(self) -> None:
        gone, failed = run(self, "gone", breaking="mail"), run(self, "bad", breaking="mail")
        self.choose("retry", gone, failed)
        sagas.engine.store.instances.delete([gone.id])

        done = self.confirm("retry", gone, failed)

        self.assertContains(done, f"There is no saga instance {gone.id} any more.")
        self.assertContains(done, "Retried: order bad")

    def test_an_instance_that_vanishes_under_the_click_is_named_too(self) -> None:
        gone = run(self, "gone", breaking="mail")
        with patch.object(Instance, "handle", SagaHandle(sagas.engine, UUID(int=1))):
            done = self.confirm("retry", gone)

        self.assertContains(done, "Refused for order gone: no saga instance 00000000-")

    def test_a_filtered_list_stays_filtered_and_loses_nothing_that_was_selected(self) -> None:
        one = run(self, "k-1", breaking="mail")

        done = self.confirm("retry", one, url=f"{LIST}?status__exact=completed")

        self.assertEqual(done.redirect_chain, [(f"{LIST}?status__exact=completed", 302)])
        self.assertIs(one.status, SagaStatus.COMPLETED)

    def test_all_pages_may_be_selected_but_not_too_many(self) -> None:
        runs = [run(self, f"k-{number}", breaking="mail") for number in range(3)]

        asked = self.choose("retry", runs[0], select_across="1")
        for one in runs:
            self.assertContains(asked, f'name="_selected_action" value="{one.id}"')

        with patch("sagas.contrib.django.acting.MOST", 2):
            refused = self.choose("retry", *runs)
        self.assertRedirects(refused, LIST, fetch_redirect_response=False)
        self.assertContains(self.client.get(LIST), "Select at most 2 at a time.")


class CancelTests(ActionTestCase):
    def test_a_pending_saga_is_cancelled(self) -> None:
        one = begin(self, "k-1")

        self.assertContains(self.confirm("cancel", one), "Cancelled: order k-1")

        self.assertIs(one.status, SagaStatus.COMPENSATED)
        self.assertEqual(self.noted(one, "stop_requested")["by"], "olga")
        self.assertEqual(LogEntry.objects.get().change_message, f"Cancelled: {WHY}")

    def test_a_completed_one_is_not(self) -> None:
        one = run(self, "k-1")

        self.assertContains(self.confirm("cancel", one), "is completed and cannot be cancelled")

    def test_one_that_waits_for_a_person_since_a_step_cannot_be_called_is_undone(self) -> None:
        one = park(self, "k-1", at=1)
        self.assertIs(one.status, SagaStatus.FAILED)

        self.assertContains(self.confirm("cancel", one), "Cancelled: order k-1")

        self.assertIs(one.status, SagaStatus.COMPENSATED)
        self.assertEqual(happened, ["release"])
        self.assertEqual(self.noted(one, "stop_requested")["by"], "olga")

    def test_one_that_failed_otherwise_is_not(self) -> None:
        one = run(self, "k-1", breaking="mail")

        self.assertContains(self.confirm("cancel", one), "is failed and cannot be cancelled")
        self.assertIs(one.status, SagaStatus.FAILED)


class SkipTests(ActionTestCase):
    def test_a_step_past_the_pivot_is_skipped_with_a_result(self) -> None:
        one = run(self, "k-1", breaking="mail")
        asked = self.choose("skip", one)
        self.assertNotContains(asked, 'name="step"')
        self.assertNotContains(asked, "null")

        self.confirm("skip", one, result='{"thanked": "by phone"}')

        self.assertIs(one.status, SagaStatus.COMPLETED)
        self.assertEqual(one.data["thanked"], "by phone")
        self.assertEqual(self.noted(one, "skip_requested"), {"reason": WHY, "by": "olga"})
        self.assertEqual(LogEntry.objects.get().change_message, f"Skipped: {WHY}")

    def test_a_result_must_be_a_json_object(self) -> None:
        one = run(self, "k-1", breaking="mail")
        for wrong, said in (("[1]", "It must be a JSON object"), ("{", "It is not valid JSON")):
            with self.subTest(wrong):
                self.assertContains(self.confirm("skip", one, result=wrong), said)
        self.assertContains(self.confirm("skip", one, result='{"a": NaN}'), "Refused for order k-1: result")
        self.assertIs(one.status, SagaStatus.FAILED)

    def test_where_several_are_stuck_it_asks_which(self) -> None:
        one = run(self, "k-1", sku="piano", breaking="refund release")
        other = run(self, "k-2", breaking="mail")

        asked = self.choose("skip", one, other)
        self.assertContains(asked, '<option value="pay">')
        self.assertContains(asked, '<option value="reserve">')
        self.assertNotContains(asked, '<option value="thank">')
        self.assertContains(self.confirm("skip", one, other), "Choose one")

        self.confirm("skip", one, other, step="pay")

        # The other needed no name, and the one needs none any more
        self.assertIs(other.status, SagaStatus.COMPLETED)
        self.assertIs(one.status, SagaStatus.FAILED)
        self.assertNotContains(self.choose("skip", one), 'name="step"')
        self.confirm("skip", one)
        self.assertIs(one.status, SagaStatus.COMPENSATED)

    def test_what_is_not_failed_is_refused(self) -> None:
        one = run(self, "k-1")

        self.assertContains(self.confirm("skip", one), "only a failed saga can")


class ResolveTests(ActionTestCase):
    def test_d1_a_pivot_in_doubt_that_happened_goes_forward_with_its_result(self) -> None:
        one = run(self, "k-1", sku="vase")
        asked = self.choose("resolve", one)
        self.assertNotContains(asked, 'name="step"')
        self.assertContains(asked, '<option value="not_happened">')

        done = self.confirm("resolve", one, answer="happened", result='{"parcel": "7"}')

        self.assertContains(done, "Resolved: order k-1")
        self.assertIs(one.status, SagaStatus.COMPLETED)
        self.assertEqual(one.data["parcel"], "7")
        self.assertEqual(happened[-2:], ["ship", "thank"])
        self.assertEqual(self.noted(one, "doubt_resolved"), {"happened": True, "reason": WHY, "by": "olga"})
        self.assertEqual(LogEntry.objects.get().change_message, f"Resolved: {WHY}")

    def test_d1_a_pivot_in_doubt_that_did_not_happen_turns_the_saga_back(self) -> None:
        one = run(self, "k-1", sku="vase")

        self.confirm("resolve", one, answer="not_happened")

        self.assertIs(one.status, SagaStatus.COMPENSATED)
        self.assertEqual(happened[-2:], ["refund", "release"])

    def test_two_that_are_stuck_side_by_side_are_each_resolved_and_skipped_by_name(self) -> None:
        one = run(self, "k-1", breaking="mail post", saga=gift)
        other = run(self, "k-2", breaking="mail post", saga=gift)
        for verb in ("resolve", "skip"):
            asked = self.choose(verb, one)
            self.assertContains(asked, '<option value="thank">step thank (in doubt)</option>', html=True)
            self.assertContains(asked, '<option value="bill">step bill (in doubt)</option>', html=True)
        self.assertContains(self.confirm("resolve", one, answer="happened"), "Choose one")

        for run_, verb, more in ((one, "resolve", {"answer": "happened"}), (other, "skip", {})):
            self.assertContains(self.confirm(verb, run_, step="bill", **more), f"{verb.capitalize()}")
            self.confirm(verb, run_, step="thank", **more)
            self.assertIs(run_.status, SagaStatus.COMPLETED)

    def test_a_compensation_that_was_done_by_hand_is_resolved(self) -> None:
        one = run(self, "k-1", sku="piano", breaking="refund")

        self.confirm("resolve", one, answer="by_hand")

        self.assertIs(one.status, SagaStatus.COMPENSATED)
        self.assertEqual(self.noted(one, "resolved_by_hand"), {"reason": WHY, "by": "olga"})

    def test_what_cannot_be_meant_is_refused(self) -> None:
        one = run(self, "k-1", sku="vase")
        for said, told in (
            ({}, "Choose what was found out"),
            ({"answer": "perhaps"}, "Select a valid choice"),
            ({"answer": "happened", "result": "[1]"}, "It must be a JSON object"),
            ({"answer": "happened", "result": "{"}, "It is not valid JSON"),
            ({"answer": "not_happened", "result": "{}"}, "Only an action that happened has a result"),
            ({"answer": "by_hand"}, "the compensation of its step cannot be resolved"),
        ):
            with self.subTest(said):
                self.assertContains(self.confirm("resolve", one, **said), told)
        self.assertIs(one.status, SagaStatus.FAILED)

    def test_the_page_shows_the_doubt_and_what_was_recorded(self) -> None:
        one = run(self, "k-1", sku="vase")

        page = self.client.get(f"{LIST}{one.id}/change/")

        self.assertContains(page, "failed (in doubt)")
        self.assertContains(page, "p-k-1")


class PageTests(ActionTestCase):
    def buttons(self, one: SagaHandle) -> list[str]:
        text = self.client.get(f"{LIST}{one.id}/change/").content.decode()
        return [verb for verb in VERBS if f'value="{verb}_selected"' in text]

    def test_its_buttons_are_those_that_its_status_allows(self) -> None:
        self.assertEqual(self.buttons(run(self, "k-1", breaking="mail")), ["retry", "skip", "resolve"])
        self.assertEqual(self.buttons(begin(self, "k-2")), ["cancel"])
        self.assertEqual(self.buttons(run(self, "k-3")), [])

    def test_one_that_waits_since_a_step_cannot_be_called_can_be_cancelled_too(self) -> None:
        self.assertEqual(self.buttons(park(self, "k-1")), ["retry", "cancel", "skip", "resolve"])
        # Past its pivot there is no way back.
        self.assertEqual(self.buttons(park(self, "k-2", at=3)), ["retry", "skip", "resolve"])

    def test_they_lead_through_the_reason_back_to_the_page(self) -> None:
        one = run(self, "k-1", breaking="mail")
        pressed = {"action": "retry_selected", "_selected_action": str(one.id), "from_page": "1"}

        asked = self.client.post(LIST, pressed)
        self.assertContains(asked, '<input type="hidden" name="from_page" value="1">')
        done = self.confirm("retry", one, from_page="1")

        self.assertRedirects(done, f"{LIST}{one.id}/change/")
        self.assertContains(done, "Retried: order k-1")
        self.assertContains(done, WHY)

    def test_a_button_needs_no_selection_of_the_action_list(self) -> None:
        self.client.handler.enforce_csrf_checks = True
        one = run(self, "k-1", breaking="mail")
        refused = self.client.post(LIST, {"action": "retry_selected", "_selected_action": str(one.id)})
        self.assertEqual(refused.status_code, 403)


class PermissionTests(ActionTestCase):
    def test_to_look_shows_neither_buttons_nor_actions_and_forged_posts_are_refused(self) -> None:
        self.client.force_login(person("viewer", "view_instance"))
        one, other = run(self, "k-1", breaking="mail"), begin(self, "k-2")

        self.assertNotContains(self.client.get(f"{LIST}{one.id}/change/"), "_selected")
        self.assertNotContains(self.client.get(LIST), "retry_selected")
        for verb, target in (("retry", one), ("skip", one), ("resolve", one), ("cancel", other)):
            with self.subTest(verb):
                self.assertEqual(self.choose(verb, target).status_code, 403)
                self.assertEqual(self.confirm(verb, target).status_code, 403)
        self.assertEqual([one.status, other.status], ["failed", "pending"])
        self.assertFalse(LogEntry.objects.exists())

    def test_each_verb_has_a_permission_of_its_own(self) -> None:
        for verb in VERBS:
            with self.subTest(verb):
                self.client.force_login(person(f"only {verb}", "view_instance", f"{verb}_instance"))
                one = begin(self, f"k-{verb}") if verb == "cancel" else run(self, f"k-{verb}", breaking="mail")
                for other in {*VERBS} - {verb}:
                    self.assertEqual(self.confirm(other, one).status_code, 403)
                text = self.client.get(f"{LIST}{one.id}/change/").content.decode()
                self.assertEqual(text.count('name="action"'), 1)
                self.assertEqual(self.confirm(verb, one, answer="happened").status_code, 200)
                self.assertEqual(LogEntry.objects.filter(object_id=one.id).count(), 1)

    def test_the_verbs_without_looking_are_worth_nothing(self) -> None:
        self.client.force_login(person("blind", "retry_instance"))
        self.assertEqual(self.confirm("retry", run(self, "k-1", breaking="mail")).status_code, 403)

    def test_messages_and_questions_show_keys_as_text(self) -> None:
        script = "<script>alert(1)</script>"
        one = run(self, script, breaking="mail")

        for response in (self.choose("retry", one), self.confirm("cancel", one), self.confirm("retry", one)):
            self.assertNotContains(response, script)
            self.assertContains(response, "&lt;script&gt;")
        self.assertNotIn(script, json.dumps(self.client.get(LIST).content.decode()))
