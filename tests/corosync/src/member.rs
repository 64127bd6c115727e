//! A member of a group: our own code for it, which says on standard output what it hears and does what it
//! is told on standard input.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::process::ExitCode;

use fence_cluster::seam::MemberId;
use fence_virtd::corosync::{Corosync, Happening};
use tokio::io::{AsyncBufReadExt, BufReader};

/// The first word of its command line; the second is the group.
pub(crate) const ARGUMENT: &str = "member";

/// Runs until its standard input ends.
pub(crate) fn run(group: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    match runtime.and_then(|runtime| runtime.block_on(serve(group))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(group: &str) -> std::io::Result<()> {
    let mut corosync = Corosync::start(group)?;
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    // Once it is told to, it asks for one barrier after the other, and says the first that comes after a change.
    let (mut asks, mut changed) = (false, false);
    loop {
        tokio::select! {
            happening = corosync.next() => {
                changed |= matches!(happening, Happening::Membership { .. });
                let passed = asks && matches!(happening, Happening::Barrier(_));
                if !passed || std::mem::take(&mut changed) {
                    println!("{}", describe(&happening));
                }
                if passed {
                    corosync.barrier();
                }
            }
            order = orders.next_line() => match order? {
                None => return Ok(()),
                Some(order) if order == "barriers" => {
                    asks = true;
                    corosync.barrier();
                }
                Some(order) => obey(&order, &mut corosync).await,
            },
        }
    }
}

async fn obey(order: &str, corosync: &mut Corosync) {
    let words: Vec<_> = order.split(' ').collect();
    match words[..] {
        // So many numbered messages, each of so many bytes.
        ["send", count, size] => {
            let size = size.parse().unwrap_or(0);
            for number in 0..count.parse().unwrap_or(0_u32) {
                let mut message = number.to_le_bytes().to_vec();
                message.resize(size, 0);
                corosync.send(message);
            }
        }
        // So many messages of random content and length.
        ["rubbish", count] => {
            for _ in 0..count.parse().unwrap_or(0_u32) {
                corosync.send(rubbish());
            }
        }
        ["barrier"] => println!("asked {}", corosync.barrier()),
        ["leave"] => {
            corosync.leave().await;
            println!("left");
        }
        _ => println!("not understood: {order}"),
    }
}

/// Anything, half of it with the beginning of a message of some type and a version.
fn rubbish() -> Vec<u8> {
    let mut random = [0; 300];
    if getrandom::fill(&mut random).is_err() {
        return Vec::new();
    }
    let length = usize::from(random[0]);
    let mut message = random[1..=length].to_vec();
    if random[256] % 2 == 0 {
        let kind = u32::from(random[257] % 40).to_ne_bytes();
        message.splice(..4.min(length), kind);
    }
    message
}

fn describe(happening: &Happening) -> String {
    let members = |members: &[MemberId]| {
        let nodes = members.iter().map(|member| member.node.to_string());
        nodes.collect::<Vec<_>>().join(",")
    };
    match happening {
        Happening::Connected { node } => format!("connected {node}"),
        Happening::Disconnected(why) => format!("disconnected {why}"),
        Happening::Membership { members: all, left } => {
            let left = left.iter();
            let left: Vec<_> = left
                .map(|(member, why)| format!("{}:{why:?}", member.node))
                .collect();
            format!("members {} left {}", members(all), left.join(","))
        }
        Happening::Delivered { from, bytes } => {
            let number = bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
            let number = number.unwrap_or_default();
            format!("message {number} of {} from {}", bytes.len(), from.node)
        }
        Happening::Quorum(quorate) => format!("quorum {quorate}"),
        Happening::Nodes(nodes) => {
            let nodes = nodes.iter().map(ToString::to_string);
            format!("nodes {}", nodes.collect::<Vec<_>>().join(","))
        }
        Happening::Hosts(hosts) => {
            let hosts = hosts.iter().map(|(id, name)| format!("{id}={name}"));
            format!("hosts {}", hosts.collect::<Vec<_>>().join(","))
        }
        Happening::Barrier(number) => format!("barrier {number}"),
    }
}
