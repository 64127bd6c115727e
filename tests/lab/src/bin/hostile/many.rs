//! Many honest agents at once.

use std::time::Duration;

use fence_lab::config::Transport;
use fence_lab::domains::{BYSTANDER, VM1};
use fence_lab::{Guest, Verdict, ensure};

use crate::Case;
use crate::stage::{Stage, ends_well};

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) const CASES: &[Case] = &[
    (
        "ten agents at once in one guest all succeed over multicast (F13)",
        |stage| at_once(stage, Transport::Multicast, 10),
    ),
    ("forty agents at once all succeed over TCP", |stage| {
        at_once(stage, Transport::Tcp, 40)
    }),
];

fn at_once(stage: &Stage, transport: Transport, agents: usize) -> Verdict {
    let mut host = stage.host(transport)?;
    let agent = stage.agent(&host.config);
    let other = agent.clone().from_guest(Guest::Second);
    let mut running = Vec::new();
    for index in 0..agents {
        let (action, domain) = match index % 3 {
            0 => ("off", VM1.name),
            1 => ("status", BYSTANDER.name),
            _ => ("list", BYSTANDER.name),
        };
        let agent = if index % 5 == 4 { &other } else { &agent };
        running.push(agent.spawn(&["-o", action, "-n", domain])?);
    }
    for agent in running {
        let answer = agent.finish(LIMIT)?;
        ensure!(answer.code == 0, "{}", answer.describe());
    }
    agent.expect_state(VM1.name, false)?;
    ends_well(&mut host)
}
