//! Rows of regressions that are about the agent on a serial device or VM channel: the lab plays the
//! host.

use std::time::Duration;

use fence_lab::agent::Running;
use fence_lab::line::{Line, Way};
use fence_lab::{Agent, Answer, Failure, Guest, Side, Verdict, ensure};
use fence_proto::host_list::{ENTRY_LEN, Entry};
use fence_proto::serial::{RESPONSE_LEN, TAG_LEN, list_response, response};
use fence_proto::{Reply, Uuid};

use crate::{Bench, Job};

type Case = fn(&Stage<'_>) -> Verdict;

const CASES: &[(&str, Case)] = &[
    (
        "a response is understood with and without a tag, behind noise",
        noise,
    ),
    (
        "a magic behind the start of one is found [D28]",
        doubled_magic,
    ),
    (
        "half a response and the end of the line is no success (F5) [D25]",
        half_a_response,
    ),
    ("the end of the line is no success (F5)", end_of_the_line),
    (
        "a list that stalls is no success (L6) [D26]",
        list_that_stalls,
    ),
    (
        "a list that is cut short is no success (L6) [D26]",
        list_cut_short,
    ),
    (
        "list answered by success, off answered by a list [D26]",
        wrong_kind,
    ),
    ("names of 63 bytes are not cut (F9)", long_names),
    (
        "what came before the request is no response [D27]",
        stale_response,
    ),
    (
        "a response to another request is no response",
        other_request,
    ),
    ("a silent host costs one time-out (L14)", silent_host),
    (
        "a stray word is an error and nothing is sent (L36)",
        stray_word,
    ),
];

/// One group for each case and kind of line.
pub(crate) fn jobs(agent: Side) -> Vec<Job> {
    let mut jobs = Vec::new();
    for way in Way::ALL {
        for (name, case) in CASES {
            jobs.push(Job {
                name: format!("agent {agent}, {}: {name}", way.mode()),
                host: agent,
                agent,
                run: Box::new(move |bench, group| {
                    group.case(name, case(&Stage { bench, way }));
                    Ok(())
                }),
            });
        }
    }
    jobs.push(Job {
        name: format!("agent {agent}: a serial device that is in use [D29]"),
        host: agent,
        agent,
        run: Box::new(move |bench, group| {
            let stage = Stage {
                bench,
                way: Way::Serial,
            };
            group.case("two agents", two_agents(&stage));
            Ok(())
        }),
    });
    jobs
}

/// What the cases share.
struct Stage<'a> {
    bench: &'a Bench<'a>,
    way: Way,
}

const OFF: &[&str] = &["-o", "off", "-n", "vm1", "-t", "3"];
const LIST: &[&str] = &["-o", "list", "-t", "3"];

impl Stage<'_> {
    fn side(&self) -> Side {
        self.bench.agent
    }

    fn line(&self) -> Result<Line, Failure> {
        Line::open(self.way, self.bench.net.guest(Guest::First))
    }

    fn start(&self, line: &Line, options: &[&str]) -> Result<Running, Failure> {
        Agent::on_line(&line.options()?, &self.bench.place()).spawn(options)
    }

    /// Answers one request with what comes of its seqno, and keeps the line open.
    fn ask(&self, options: &[&str], say: impl FnOnce(u32) -> Vec<u8>) -> Result<Answer, Failure> {
        let mut line = self.line()?;
        let running = self.start(&line, options)?;
        let request = line.request()?;
        line.say(&say(request.seqno))?;
        finish(running)
    }

    /// The same, and closes the line. `None` if the agent does not notice.
    fn ask_and_close(&self, options: &[&str], bytes: &[u8]) -> Result<Option<Answer>, Failure> {
        let mut line = self.line()?;
        let running = self.start(&line, options)?;
        line.request()?;
        line.say(bytes)?;
        // What was said shall be read first.
        std::thread::sleep(Duration::from_millis(200));
        drop(line);
        Ok(running.finish(Duration::from_secs(5)).ok())
    }
}

fn finish(running: Running) -> Result<Answer, Failure> {
    running.finish(Duration::from_secs(15))
}

fn must_end_with(answer: &Answer, code: i32) -> Verdict {
    ensure!(
        answer.code == code,
        "exit code {code} expected, but: {}",
        answer.describe()
    );
    Ok(())
}

fn must_fail(answer: &Answer) -> Verdict {
    ensure!(
        answer.code != 0,
        "it should fail, but: {}",
        answer.describe()
    );
    Ok(())
}

/// C ends with this code, ours fails and says nothing on standard output.
fn ours_fails(stage: &Stage<'_>, answer: &Answer, c_code: i32) -> Verdict {
    match stage.side() {
        Side::C => must_end_with(answer, c_code).map_err(|failure| failure.at("C has changed")),
        Side::Ours => {
            must_end_with(answer, 1)?;
            let silent = answer.stdout.is_empty() && answer.stderr.lines().count() == 1;
            ensure!(
                silent,
                "not one line on standard error: {}",
                answer.describe()
            );
            Ok(())
        }
    }
}

fn entries() -> [Entry; 2] {
    ["one", "two"].map(|name| Entry {
        name: name.to_owned(),
        uuid: Uuid([0x1f; 16]),
        state: 1,
    })
}

/// What a host of the original says.
fn bare(seqno: u32, bytes: Vec<u8>) -> Vec<u8> {
    let _ = seqno;
    bytes.get(TAG_LEN..).unwrap_or_default().to_vec()
}

fn noise(stage: &Stage<'_>) -> Verdict {
    for tagged in [true, false] {
        for (byte, code) in [(0, 0), (1, 1), (3, 3)] {
            let answer = stage.ask(OFF, |seqno| {
                let bytes = response(seqno, Reply::from_wire(byte));
                let bytes = if tagged { bytes } else { bare(seqno, bytes) };
                [&b"\r\nlogin: \xff\0"[..], &bytes].concat()
            })?;
            must_end_with(&answer, code)?;
        }
    }
    Ok(())
}

fn doubled_magic(stage: &Stage<'_>) -> Verdict {
    let answer = stage.ask(OFF, |_| b"aabba\0".to_vec())?;
    match stage.side() {
        Side::Ours => must_end_with(&answer, 0),
        Side::C => must_fail(&answer),
    }
}

fn half_a_response(stage: &Stage<'_>) -> Verdict {
    let answer = stage.ask_and_close(OFF, b"abba")?;
    let answer = answer.ok_or_else(|| Failure::new("it does not notice the end"))?;
    ours_fails(stage, &answer, 0)
}

fn end_of_the_line(stage: &Stage<'_>) -> Verdict {
    let answer = stage.ask_and_close(OFF, b"ab")?;
    let answer = answer.ok_or_else(|| Failure::new("it does not notice the end"))?;
    ours_fails(stage, &answer, 255)
}

/// An entry and a half.
fn partial_list(seqno: u32) -> Vec<u8> {
    let mut list = list_response(seqno, &entries());
    list.truncate(TAG_LEN + RESPONSE_LEN + ENTRY_LEN + 60);
    list
}

fn list_that_stalls(stage: &Stage<'_>) -> Verdict {
    let answer = stage.ask(LIST, partial_list)?;
    ours_fails(stage, &answer, 0)?;
    let limit = Duration::from_secs(5);
    let in_time = stage.side() == Side::C || answer.elapsed < limit;
    ensure!(
        in_time,
        "longer than its time-out of 3 s: {}",
        answer.describe()
    );
    Ok(())
}

fn list_cut_short(stage: &Stage<'_>) -> Verdict {
    let answer = stage.ask_and_close(LIST, &bare(0, partial_list(0)))?;
    match (stage.side(), answer) {
        (Side::Ours, Some(answer)) => ours_fails(stage, &answer, 0),
        (Side::Ours, None) => Err(Failure::new("it does not notice the end")),
        // It prints the last entry again and again.
        (Side::C, None) => Ok(()),
        (Side::C, Some(answer)) => fence_lab::fail!("C has changed: {}", answer.describe()),
    }
}

fn wrong_kind(stage: &Stage<'_>) -> Verdict {
    let answer = stage.ask(LIST, |seqno| response(seqno, Reply::Success))?;
    ours_fails(stage, &answer, 0)?;
    let answer = stage.ask(OFF, |seqno| list_response(seqno, &entries()))?;
    ours_fails(stage, &answer, 0)
}

fn long_names(stage: &Stage<'_>) -> Verdict {
    let name = "n".repeat(63);
    let entry = Entry {
        name: name.clone(),
        ..entries()[0].clone()
    };
    let answer = stage.ask(LIST, |seqno| list_response(seqno, &[entry]))?;
    must_end_with(&answer, 0)?;
    let wanted = format!("{name} 1f1f1f1f-1f1f-1f1f-1f1f-1f1f1f1f1f1f on\n");
    ensure!(answer.stdout == wanted, "{}", answer.describe());
    Ok(())
}

fn stale_response(stage: &Stage<'_>) -> Verdict {
    let mut line = stage.line()?;
    let stale = bare(0, response(0, Reply::Success));
    if stage.way == Way::Serial {
        line.say(&stale)?;
    }
    let running = stage.start(&line, OFF)?;
    if stage.way == Way::Channel {
        fence_lab::wait::until("the agent to connect", fence_lab::wait::PATIENCE, || {
            line.is_up()
        })?;
        line.say(&stale)?;
    }
    line.request()?;
    // It may be gone already.
    let _ = line.say(&bare(0, response(0, Reply::Failure)));
    let answer = finish(running)?;
    match (stage.side(), stage.way) {
        // It throws away what a serial device holds, but not what a VM channel does.
        (Side::C, Way::Channel) => must_end_with(&answer, 0),
        _ => must_end_with(&answer, 1),
    }
}

/// Both take the right one; ours also does where there is a wrong one before it.
fn other_request(stage: &Stage<'_>) -> Verdict {
    let answer = stage.ask(OFF, |seqno| {
        let mut bytes = response(seqno ^ 1, Reply::Success);
        bytes.extend(response(seqno, Reply::PermissionDenied));
        bytes
    })?;
    match stage.side() {
        Side::Ours => must_end_with(&answer, 3),
        Side::C => must_end_with(&answer, 0),
    }
}

fn silent_host(stage: &Stage<'_>) -> Verdict {
    let answer = stage.ask(OFF, |_| Vec::new())?;
    ours_fails(stage, &answer, 255)?;
    let limit = Duration::from_secs(5);
    ensure!(
        answer.elapsed < limit,
        "longer than its time-out of 3 s: {}",
        answer.describe()
    );
    Ok(())
}

fn stray_word(stage: &Stage<'_>) -> Verdict {
    let mut line = stage.line()?;
    let running = stage.start(&line, &[&["stray"], OFF].concat())?;
    let asked = match stage.side() {
        // D10.
        Side::C => line.request().is_ok(),
        Side::Ours => false,
    };
    drop(line);
    let answer = finish(running)?;
    ensure!(
        asked || stage.side() == Side::Ours,
        "C has changed: {}",
        answer.describe()
    );
    if stage.side() == Side::Ours {
        ensure!(answer.stderr.contains("stray"), "{}", answer.describe());
    }
    must_fail(&answer)
}

fn two_agents(stage: &Stage<'_>) -> Verdict {
    let mut line = stage.line()?;
    let first = stage.start(&line, OFF)?;
    let request = line.request()?;
    let second = stage.start(&line, OFF)?;
    if stage.side() == Side::C {
        must_end_with(&finish(second)?, 255)?;
        line.say(&response(request.seqno, Reply::Success))?;
        return must_end_with(&finish(first)?, 0);
    }
    std::thread::sleep(Duration::from_millis(300));
    line.say(&response(request.seqno, Reply::Success))?;
    must_end_with(&finish(first)?, 0)?;
    let request = line.request()?;
    line.say(&response(request.seqno, Reply::Success))?;
    must_end_with(&finish(second)?, 0)
}
