//! The order of the questions, and what each answer changes.

use super::*;
use crate::ledger::{Claim, FORMAT, Frontiers, OwnerId};
use crate::take_over::{OnLostRecords, WhenSwitchedOn};

const ON: Switches = Switches {
    postgres: Some(WhenSwitchedOn::Fill),
    clickhouse: Some(WhenSwitchedOn::Fill),
    on_lost_records: OnLostRecords::Stop,
};

fn given(switches: Switches) -> Given {
    Given { source: SourceId(7), partition: 0, switches, other_lives_known: false }
}

/// A row whose last owner has stored everything below `next`, and claimed nothing more.
fn row(next: Offset) -> Row {
    Row {
        epoch: 3,
        owner: OwnerId(0),
        claimed: next,
        frontiers: Frontiers { dead_letters: next, postgres: Some(next), clickhouse: Some(next) },
        postgres_stopped: None,
        clickhouse_stopped: None,
        claims: Vec::new(),
        doubtful_below: None,
        birth: 9,
        first_offset: Some(0),
        format: FORMAT,
    }
}

fn taken(row: Row) -> Answer {
    Answer::Taken(Box::new(Taken { row, may_have_gone_back: false, is_from_other_cluster: false }))
}

/// Gives the answers in order. Returns the question after the last one, or how the attempt ended.
fn after(switches: Switches, answers: Vec<Answer>) -> Result<Ask, Ended> {
    let mut steps = TakeOver::new(given(switches));
    for answer in answers {
        steps.answer(answer).unwrap();
    }
    steps.ask().map_err(Ended::clone)
}

/// The answers up to the statement, for a partition that has a row. The log ends at 50 at that time.
fn with_row() -> Vec<Answer> {
    vec![Answer::Watermarks(0, 50), Answer::Row(true)]
}

/// The answers up to the statement, for a partition without a row. `holds_rows` says whether ClickHouse holds rows of it.
fn without_row(holds_rows: bool) -> Vec<Answer> {
    let starts = FirstStarts { commits: vec![None], ends: None };
    let answers = [Answer::Watermarks(0, 50), Answer::Row(false), Answer::Starts(Some(starts))];
    answers.into_iter().chain([Answer::Committed(None), Answer::HoldsRows(holds_rows)]).collect()
}

fn settled(switches: Switches, answers: Vec<Answer>) -> Settled {
    match after(switches, answers) {
        Ok(Ask::Settle(settled)) => *settled,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_clean_row_needs_no_drain_and_asks_clickhouse_above_what_is_claimed() {
    let asked = after(ON, [with_row(), vec![taken(row(20))]].concat());
    assert_eq!(asked, Ok(Ask::Highest { from: 20, stored: Some(Range::new(0, 20)) }));
}

#[test]
fn whatever_may_have_left_something_on_its_way_is_drained_first() {
    let drains = |answers: Vec<Answer>| after(ON, answers);
    let claimed = Row { claimed: 30, claims: vec![Claim { end: 30, fingerprint: 1 }], ..row(20) };
    assert_eq!(drains([with_row(), vec![taken(claimed)]].concat()), Ok(Ask::Drain { id_is_known: true }));
    let back = Taken { row: row(20), may_have_gone_back: true, is_from_other_cluster: true };
    let back = Answer::Taken(Box::new(back));
    assert_eq!(drains([with_row(), vec![back]].concat()), Ok(Ask::Drain { id_is_known: false }));
    // a row that was just created says nothing about earlier inserts
    assert_eq!(drains([without_row(false), vec![taken(row(0))]].concat()), Ok(Ask::Drain { id_is_known: true }));
    // a row that replaces a lost one does not even say which query id they use
    assert_eq!(drains([without_row(true), vec![taken(row(0))]].concat()), Ok(Ask::Drain { id_is_known: false }));
}

#[test]
fn without_clickhouse_it_is_not_asked() {
    let off = Switches { clickhouse: None, ..ON };
    assert_eq!(after(off, [with_row(), vec![taken(row(20))]].concat()), Ok(Ask::End));
    let starts = FirstStarts { commits: vec![None], ends: None };
    let answers =
        vec![Answer::Watermarks(0, 50), Answer::Row(false), Answer::Starts(Some(starts)), Answer::Committed(None)];
    assert!(matches!(after(off, answers), Ok(Ask::TakeRow { has_row: false, .. })));
}

/// H bounds what an older owner can have written. That owner could write until the statement fenced it, so the log's end is asked for again
/// after the statement.
#[test]
fn what_may_have_been_written_reaches_to_the_logs_end_after_the_statement() {
    let back = Taken { row: row(20), may_have_gone_back: true, is_from_other_cluster: false };
    let doubtful_below = |end| {
        let answers =
            vec![Answer::Taken(Box::new(back.clone())), Answer::Drained, Answer::Highest(None), Answer::End(end)];
        settled(ON, [with_row(), answers, vec![Answer::TopicId(true)]].concat()).row.doubtful_below
    };
    assert_eq!(doubtful_below(80), Some(80), "records came between the two questions");
    assert_eq!(doubtful_below(40), Some(50), "a log that went back since is no reason to believe less");
}

#[test]
fn another_life_of_the_topic_and_another_owner_end_the_try() {
    let up_to_topic_id = [with_row(), vec![taken(row(20)), Answer::Highest(None), Answer::End(50)]].concat();
    assert_eq!(after(ON, up_to_topic_id.clone()), Ok(Ask::TopicId));
    assert_eq!(after(ON, [up_to_topic_id.clone(), vec![Answer::TopicId(false)]].concat()), Err(Ended::Replaced));
    let fenced = [up_to_topic_id.clone(), vec![Answer::TopicId(true), Answer::Settled(false)]].concat();
    assert_eq!(after(ON, fenced), Err(Ended::Fenced));
    let ours = after(ON, [up_to_topic_id, vec![Answer::TopicId(true), Answer::Settled(true)]].concat());
    assert!(matches!(ours, Err(Ended::Ours(plan)) if plan.start == 20 && plan.read_from == 20));
}

#[test]
fn a_first_start_is_written_down_once_and_read_again() {
    let starts = FirstStarts { commits: vec![Some(12)], ends: None };
    let mut answers = vec![Answer::Watermarks(3, 50), Answer::Row(false), Answer::Starts(None)];
    assert_eq!(after(ON, answers.clone()), Ok(Ask::FirstStart));
    answers.push(Answer::FirstStart(starts.clone()));
    assert_eq!(after(ON, answers.clone()), Ok(Ask::WriteStarts(starts)));
    answers.push(Answer::Written);
    assert_eq!(after(ON, answers.clone()), Ok(Ask::Starts));
    // another process wrote its record first
    let theirs = FirstStarts { commits: vec![Some(20)], ends: None };
    let rest = [Answer::Starts(Some(theirs)), Answer::Committed(None), Answer::HoldsRows(false)];
    let begins = after(ON, answers.iter().cloned().chain(rest).collect());
    assert!(matches!(begins, Ok(Ask::TakeRow { start: FirstStart { offset: 20, .. }, has_row: false })), "{begins:?}");
    // an older program made the first start, and kept no record
    let rest = [Answer::Starts(None), Answer::Committed(None), Answer::HoldsRows(false)];
    let begins = after(ON, answers.into_iter().chain(rest).collect());
    assert!(matches!(begins, Ok(Ask::TakeRow { start: FirstStart { offset: 3, .. }, has_row: false })), "{begins:?}");
}

#[test]
fn gaps_of_the_switches_are_noted_with_those_of_the_plan() {
    let skips = Switches { clickhouse: Some(WhenSwitchedOn::Skip), ..ON };
    let mut off = row(20);
    (off.frontiers.clickhouse, off.clickhouse_stopped) = (None, Some(5));
    let answers = vec![taken(off), Answer::Drained, Answer::Highest(None), Answer::End(50), Answer::TopicId(true)];
    let gaps = settled(skips, [with_row(), answers].concat()).gaps;
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].range, Range::new(5, 20));
}

/// The model changes the epoch in every state that holds a row, because it counts epochs from one.
#[test]
fn the_row_can_be_reached_from_the_statement_to_its_settling() {
    let mut steps = TakeOver::new(given(ON));
    let back = Taken { row: row(20), may_have_gone_back: true, is_from_other_cluster: false };
    let before = with_row();
    let held = [Answer::Drained, Answer::Highest(None), Answer::End(50), Answer::TopicId(true)];
    for answer in before {
        steps.answer(answer).unwrap();
        assert!(steps.row_mut().is_none());
    }
    steps.answer(Answer::Taken(Box::new(back))).unwrap();
    for answer in held {
        assert_eq!(steps.row_mut().map(|row| row.epoch), Some(3));
        steps.answer(answer).unwrap();
    }
    assert_eq!(steps.row_mut().map(|row| row.epoch), Some(3));
    steps.answer(Answer::Settled(true)).unwrap();
    assert!(steps.row_mut().is_none());
}

#[test]
#[should_panic(expected = "answers another question")]
fn an_answer_of_another_question_is_a_bug() {
    let _ = TakeOver::new(given(ON)).answer(Answer::Drained);
}
