"""Issue 4, line 4: each known defect of upstream has tests that show ours does not have it.

The table names the tests; this test sees to it that they are there and pass.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

UNIT, REAL = "tests/unit/psik", "tests/integration/psik"
API_UNIT, API = "tests/unit/psik_api", "tests/integration/psik_api"
DEFECTS = {
    "A1 secrets masked or in clear text": [
        f"{UNIT}/test_store.py::test_the_secret_lies_apart",
        f"{UNIT}/test_callbacks.py::test_forgeries_are_refused",
    ],
    "A2 cb_headers never sent": [
        f"{REAL}/test_callbacks.py::test_headers_are_the_jobs_and_the_proof_is_ours"
    ],
    "A3 cancel needs the callback host": [
        f"{REAL}/test_callbacks.py::test_a_receiver_that_is_down_is_told_later_and_cancel_does_not_wait"
    ],
    "A4 final states are not final": [
        f"{UNIT}/test_states.py::test_whatever_is_reported_a_final_state_stays_final",
        f"{REAL}/test_local.py::test_an_ended_job_stays_as_it_ended",
    ],
    "A5 cancel of a recycled pid": [
        f"{REAL}/test_local.py::test_a_recycled_pid_is_not_mistaken_for_the_runner",
        f"{REAL}/test_local.py::test_cancel_ends_all_of_it",
    ],
    "A6 rows out of order, lost or torn": [
        f"{UNIT}/test_state_log.py::test_writers_of_four_processes_never_disturb_each_other",
        f"{UNIT}/test_state_log.py::test_a_torn_row_is_passed_over_and_taken_away",
        f"{REAL}/test_local.py::test_cancel_at_any_moment_of_the_start",
    ],
    "A7 the lock is held while sbatch runs": [
        f"{REAL}/test_slurm.py::test_slurmctld_away_and_back"
    ],
    "A8 the job waits for its callback": [
        f"{REAL}/test_callbacks.py::test_a_job_never_waits_for_its_receiver",
        f"{REAL}/test_callbacks.py::test_every_state_arrives_once_and_in_order",
    ],
    "A9 the script is on standard input": [
        f"{REAL}/test_local.py::test_nothing_on_standard_input_swallows_the_rest_of_the_script"
    ],
    "A10 killed jobs stay active": [
        f"{REAL}/test_local.py::test_a_killed_runner_is_noticed_and_its_script_ended",
        f"{REAL}/test_slurm.py::test_out_of_memory",
    ],
    "A11 standard output is inherited": [
        f"{REAL}/test_cli.py::test_run_in_a_pipe_does_not_wait_for_the_job"
    ],
    "A12 a line break breaks the log": [
        f"{UNIT}/test_state_log.py::test_a_line_break_in_info_does_not_break_the_row"
    ],
    "A13 raw attributes, no reservation": [
        f"{UNIT}/test_slurm_options.py::test_a_user_cannot_say_everything",
        f"{UNIT}/test_slurm_options.py::test_the_papers_example",
    ],
    "A14 remote jobs: files flattened, ids of elsewhere, restarts stuck, results left behind": [
        "tests/interop/test_psik.py::test_upstreams_files_arrive_where_they_belong",
        f"{REAL}/test_upstream_dialect.py::test_callbacks_bear_our_id[remote_service]",
        f"{REAL}/test_conformance.py::test_another_attempt[psik]",
        f"{REAL}/test_conformance.py::test_another_attempt[psik-v3]",
        f"{REAL}/test_conformance.py::test_results_come_back[psik]",
    ],
    "A15 facilities: other folders, no quoting, files on a command line, failed questions": [
        f"{REAL}/test_facilities.py::test_odd_paths_and_much_input_arrive",
        f"{REAL}/test_facilities.py::test_a_question_that_fails_is_told_and_asked_again",
    ],
    "A16 listing takes milliseconds per job": [
        "tests/acceptance/jobs/test_07_speed.py::test_listing_and_submitting"
    ],
    "B1 random refusals": [f"{API}/test_ownership.py::test_what_is_allowed_is_never_refused"],
    "B2 no ownership": [f"{API}/test_ownership.py::test_another_persons_job_is_not_there"],
    "B3 the client chooses the directory": [
        f"{API}/test_ownership.py::test_paths_do_not_escape",
        f"{API_UNIT}/test_policy.py::test_what_exceeds_the_rule_is_refused",
    ],
    "B4 submit errors are invisible": [
        f"{REAL}/test_slurm.py::test_a_refused_job_is_failed_with_slurms_words"
    ],
    "B5 callbacks verified from a rewritten body": [
        f"{UNIT}/test_callbacks.py::test_an_altered_body_is_refused"
    ],
    "B6 binary logs, unknown backends, orphans": [
        f"{REAL}/test_local.py::test_binary_output_is_no_obstacle",
        f"{API}/test_v4.py::test_refusals_are_told",
        f"{UNIT}/test_store.py::test_a_failed_creation_leaves_no_orphan",
    ],
    "B7 tokens of nobody in particular": [
        f"{API}/test_ownership.py::test_without_a_certificate_there_is_no_service",
        f"{API}/test_ownership.py::test_who_asks_is_who_holds_the_key_and_no_token_says_otherwise",
        "tests/integration/certified/test_serve.py"
        "::test_a_revoked_peer_is_refused_on_the_connection_it_has_open",
    ],
    "B8 every local user is trusted": [
        f"{API_UNIT}/test_caller.py::test_loopback_is_nobody_unless_a_developer_says_so"
    ],
}


@pytest.mark.repeats
@pytest.mark.slurm
@pytest.mark.interop
@pytest.mark.timeout(600)
def test_no_known_defect(passes: Callable[..., str], repository: Path, figure: object) -> None:
    named = sorted({test for tests in DEFECTS.values() for test in tests})
    for test in named:
        path, _, function = test.partition("[")[0].partition("::")
        assert f"def {function}(" in (repository / path).read_text(), test
    quick = [test for test in named if "acceptance" not in test]
    assert "skipped" not in passes(*quick)
    figure("defects_covered", len(DEFECTS))  # type: ignore[operator]
