use super::*;
use crate::bench::{Bench, ME, OTHER, member};

const GONE: MemberId = member(3);

fn mention(node: u32, heard: WallTime) -> Mention {
    Mention {
        node: NodeId(node),
        stand: Stand {
            start: WallTime(1),
            seq: 1,
        },
        whole: true,
        heard,
    }
}

fn greeting(mentions: Vec<Mention>) -> Message {
    Message::Hello {
        sighted: None,
        mentions,
    }
}

fn ahead(bench: &Bench, ms: u64) -> WallTime {
    WallTime(bench.now.wall.0 + ms)
}

#[test]
fn time_in_a_greeting_that_lies_far_ahead_is_taken_for_now() {
    let mut bench = Bench::new();
    bench.members(&[ME, OTHER, GONE]);
    bench.members(&[ME, OTHER]);
    bench.later(10);
    // An hour is believed, and no more.
    let hour = ahead(&bench, CLOCK_AHEAD);
    for (heard, believed) in [
        (ahead(&bench, CLOCK_AHEAD + 1), bench.now.wall),
        (hour, hour),
    ] {
        bench.hear(OTHER, &greeting(vec![mention(3, heard)]));
        assert_eq!(bench.core.memories[&GONE.node].heard, believed);
    }
    assert_eq!(bench.core.summary(), "bad-field=1");
    let warnings = bench.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("more than an hour ahead"));
}

#[test]
fn time_in_a_memory_that_lies_far_ahead_is_taken_for_now_with_one_warning_for_all_parts() {
    let mut bench = Bench::new();
    let sane = mention(3, bench.now.wall);
    bench.hear(OTHER, &greeting(vec![sane]));
    bench.later(10);
    let far = mention(3, ahead(&bench, CLOCK_AHEAD + 1));
    for part in 0..3 {
        let part = Part {
            stand: far.stand,
            part,
            parts: 3,
            current: true,
            records: Vec::new(),
        };
        let memory = Message::Memory {
            mention: far,
            reason: LeaveReason::NodeDown,
            part,
        };
        bench.hear(OTHER, &memory);
    }
    assert_eq!(bench.core.memories[&GONE.node].heard, bench.now.wall);
    assert_eq!(bench.core.summary(), "bad-field=1");
    assert_eq!(bench.warnings().len(), 1);
}

#[test]
fn no_more_memories_are_fetched_than_are_kept() {
    let mut bench = Bench::new();
    let hosts = u32::try_from(MAX_MEMORIES).unwrap();
    for first in [1_000, 2_000] {
        let mentions = (first..first + hosts).map(|node| mention(node, bench.now.wall));
        bench.hear(OTHER, &greeting(mentions.collect()));
    }
    assert_eq!(bench.core.fetches.len(), MAX_MEMORIES);
    assert_eq!(bench.core.summary(), "full=1");
    let sent = bench.sent().into_iter();
    let asked = sent.filter(|message| matches!(message, Message::Want { .. }));
    assert_eq!(asked.count(), MAX_MEMORIES);
}
