"""V13, V29 to V32 and V50: bridges between services, and loops through them."""

from tests.holes.reversal import Edit, Reversal

RECEIVING = "tests/integration/bridges/test_receiving.py::"
TRADE = "tests/integration/bridges/test_trade.py::"

OF_BRIDGES = (
    Reversal(
        letter="V13",
        hole="Who may write to the queue of a bridge forges a payment.",
        taken_away="what is not signed is dropped",
        edits=(
            Edit(
                "sagas/bridges/receiving.py::Receiver::_check_sender",
                "not is_signed(body, headers.get(SIGNATURE), self._bridge.keys)",
                "False",
            ),
        ),
        tests=(f"{RECEIVING}test_v13_a_forged_message_is_counted_and_never_stored",),
    ),
    Reversal(
        letter="V29",
        hole="Messages overtake each other, and a run gets its events in another order than they were published.",
        taken_away="what comes early waits for its index",
        edits=(
            Edit(
                "sagas/store/bridge_statements.py::NEXT",
                "AND taken_at IS NULL AND index = 1 + coalesce",
                "AND taken_at IS NULL AND index > 0 * coalesce",
            ),
        ),
        tests=(f"{RECEIVING}test_v29_what_comes_early_waits_for_its_index",),
    ),
    Reversal(
        letter="V30",
        hole="An outage of the broker uses up the attempts, or ends the process that would send.",
        taken_away="the process of a bridge waits for its broker",
        edits=(
            Edit(
                "sagas/bridges/station.py::Station::run",
                "if not (isinstance(error, line.errors) or may_pass(error)):",
                "if error is not None:",
            ),
        ),
        tests=(f"{TRADE}test_v30_an_hour_without_the_other_service_loses_nothing_and_costs_no_attempts",),
    ),
    Reversal(
        letter="V31",
        hole="A message that comes again is published again.",
        taken_away="a message is remembered by its id",
        edits=(
            Edit(
                "sagas/store/bridge_statements.py::IMPORT",
                "DO NOTHING",
                "DO UPDATE SET taken_at = NULL",
            ),
            Edit("sagas/bridges/receiving.py::Receiver::_inserted", 'f"{by}:{envelope.id}"', "None"),
        ),
        tests=(f"{RECEIVING}test_v31_a_doubled_message_does_nothing_and_is_receipted_again",),
    ),
    Reversal(
        letter="V32",
        hole="Two handlers answer each other for ever, with a new event each time.",
        taken_away="an event that is too many causes away from the beginning of its run is a letter",
        edits=(
            Edit(
                "sagas/model/choreography/numbering.py::why_undelivered",
                "event.depth > LONGEST_CHAIN",
                "event.depth < 0",
            ),
            Edit("sagas/choreography/starters.py::start_on_event", "number=current_event.number", "number=None"),
        ),
        tests=(
            "tests/unit/model/choreography/test_late.py::test_v32_an_event_that_goes_round_in_a_loop_is_a_letter",
            "tests/integration/test_started_on_events.py::"
            "test_v32_a_loop_through_sagas_that_start_on_events_and_publish_again_ends_as_a_letter",
        ),
    ),
    Reversal(
        letter="V50",
        hole="A message of the other side that cannot be read is gone without a trace.",
        taken_away="what is signed and cannot be read is kept for a person",
        edits=(
            Edit(
                "sagas/bridges/receiving.py::Receiver::receive",
                "self._keep_unreadable(body, str(refused))",
                "self._drop(str(refused))",
            ),
        ),
        tests=(f"{RECEIVING}test_v50_a_signed_message_that_nobody_can_read_is_kept_once",),
    ),
)
