//! Runs a case: state, requests, truth, and whether anything is done later that was reported failed.

use fence_lab::agent::Answer;
use fence_lab::{Failure, Side, Verdict, ensure, fail};

use crate::case::{Ask, Case, Outcome, Sides, Vm};
use crate::cluster::Cluster;
use crate::sight::Sight;
use crate::table::Row;
use crate::virtd::Settings;

/// Ours answers by its `request_timeout` of 20 s; the rest is the agent's own and a busy machine's.
pub(crate) const IN_TIME_SECONDS: f32 = 28.0;

/// The settings of a case's daemons when the run is about `side`; nothing if the case is not.
pub(crate) fn settings(case: &Case, side: Side) -> Option<[Settings; 3]> {
    let sides = match (case.sides, side) {
        (Sides::Mixed(sides), Side::Ours) => sides,
        (Sides::OursOnly | Sides::Mixed(_), Side::C) => return None,
        (Sides::Same | Sides::OursOnly, side) => [side; 3],
    };
    let mut settings = sides.map(Settings::new);
    (case.settings)(&mut settings);
    Some(settings)
}

/// Runs a case on a cluster that may be in any state, and says what was seen.
pub(crate) fn run(cluster: &mut Cluster, case: &Case, side: Side, rows: &mut Vec<Row>) -> Verdict {
    let Some(settings) = settings(case, side) else {
        return Ok(());
    };
    if let Err(failure) = cluster.heal(&settings) {
        let failure = failure.at("before the case").with(&cluster.logs());
        cluster.switch_off()?;
        return Err(failure);
    }
    let mut verdict = (case.arrange)(cluster).map_err(|failure| failure.at("arranging"));
    if verdict.is_ok() {
        for ask in case.asks {
            if side == Side::C && ask.c.text.is_empty() {
                continue;
            }
            let mut row = Row::new(case.name, ask);
            let one = run_ask(cluster, ask, side, &mut row);
            row.failed = one.is_err();
            rows.push(row);
            verdict = keep(verdict, one);
        }
        verdict = keep(verdict, (case.finally)(cluster));
        verdict = keep(verdict, nothing_late(cluster, case, &settings, rows));
    }
    verdict.map_err(|failure| failure.with(&cluster.logs()))
}

fn keep(first: Verdict, second: Verdict) -> Verdict {
    match (first, second) {
        (Err(first), Err(second)) => Err(first.with(second.text())),
        (first, second) => first.and(second),
    }
}

fn run_ask(cluster: &mut Cluster, ask: &Ask, side: Side, row: &mut Row) -> Verdict {
    if let Some(before) = ask.before {
        before(cluster).map_err(|failure| failure.at("before the request"))?;
    }
    let agent = cluster.ask(ask.action, ask.target, ask.via)?;
    if let Some(during) = ask.during {
        during(cluster, &agent).map_err(|failure| failure.at("during the request"))?;
    }
    let answer = cluster.finish(agent)?;
    let left = cluster.copies(ask.domain);
    row.answered(&answer);
    let booting = answer.code == 0 && matches!(ask.action, "on" | "reboot");
    let sight = cluster.look(ask.domain, booting);
    if !ask.target.is_empty() {
        row.seen(&left, &sight);
    }
    let said = format!(
        "{} via {:?}: {}; vm: {sight}",
        ask.action,
        ask.via,
        answer.describe()
    );
    if answer.code == 0 && ask.action == "off" && side == Side::Ours {
        ensure!(
            left.is_empty(),
            "{said}: success while it was still there on {left:?}"
        );
    }
    judge(ask, side, &answer, &sight).map_err(|failure| failure.at(said))
}

fn judge(ask: &Ask, side: Side, answer: &Answer, sight: &Sight) -> Verdict {
    let allowed = match side {
        Side::C if ask.c.outcomes.is_empty() => return Ok(()),
        Side::C => ask.c.outcomes,
        Side::Ours => ask.ours,
    };
    let fits = |one: &Outcome| one.codes.contains(&answer.code) && one.vm.fits(sight);
    ensure!(allowed.iter().any(fits), "not one of {allowed:?}");
    if side == Side::Ours {
        let in_time = answer.elapsed.as_secs_f32() < IN_TIME_SECONDS;
        ensure!(in_time || ask.unanswered, "too late");
        ensure!(sight.beating.len() < 2, "two copies run");
        ask.output.map_or(Ok(()), |check| check(answer))?;
    }
    Ok(())
}

/// Everything that was stopped goes on and everything that died is started again: what ran although
/// the answer was a failure must run on.
fn nothing_late(
    cluster: &mut Cluster,
    case: &Case,
    settings: &[Settings; 3],
    rows: &mut [Row],
) -> Verdict {
    let (Some(ask), Some(row)) = (case.asks.last(), rows.last_mut()) else {
        return Ok(());
    };
    if ask.ours.iter().all(|one| one.vm == Vm::Any) || !row.ran {
        return Ok(());
    }
    cluster.recover(settings)?;
    let group = cluster.wait_for_group();
    let sight = cluster.look(ask.domain, false);
    row.later(&sight);
    if settings.iter().any(|settings| settings.side == Side::C) {
        return Ok(());
    }
    group?;
    if sight.beating.len() != 1 {
        row.failed = true;
        fail!("afterwards it {sight}, although the last answer left it running");
    }
    Ok::<(), Failure>(())
}
