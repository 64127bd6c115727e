//! The access rules: what a source may fence, what it sees, and that the rest is left alone.

use fence_lab::config::{GroupText, HostConfig, Transport};
use fence_lab::domains::{BYSTANDER, Domain, LONG, VM1};
use fence_lab::{Failure, Group, Guest, Side};
use fence_proto::Family;

use crate::matrix::{WAYS, add_log, run_rows};
use crate::table::{After, Row, Target, Want, row};
use crate::{Bench, Job};

/// Guest 1 may fence vm1 (listed by name) and the bystander (listed by UUID), guest 2 the one with
/// the long name.
pub(crate) fn jobs(host: Side, agent: Side) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (transport, family) in WAYS {
        let way = format!("host {host}, agent {agent}: {transport} {}", family.name());
        jobs.push(Job {
            name: format!("groups: {way}"),
            host,
            agent,
            run: Box::new(move |bench, group| both_guests(bench, transport, family, group)),
        });
        jobs.push(Job {
            name: format!("groups: {way}, a source that is in none"),
            host,
            agent,
            run: Box::new(move |bench, group| nobodys(bench, transport, family, group)),
        });
    }
    jobs
}

/// The only group is another guest's.
fn nobodys(
    bench: &Bench<'_>,
    transport: Transport,
    family: Family,
    group: &mut Group,
) -> Result<(), Failure> {
    let mut config = bench.furnish(HostConfig::new(transport, family, bench.port), "host")?;
    config.groups = vec![GroupText {
        members: vec![VM1.name.to_owned()],
        sources: vec![Guest::Second.address(family).to_string()],
    }];
    let host = bench.launch("host").start_ready(config)?;
    let agent = bench.agent_for(&host);
    run_rows(NOBODY, &agent, host.side, group);
    let untouched = agent.from_guest(Guest::Second).expect_state(VM1.name, true);
    group.case("the domain runs on", untouched);
    add_log(&host, group);
    Ok(())
}

const NOBODY: &[Row] = &[
    row("list", "list", Target::Nothing, Want::List(&[])),
    row("monitor", "monitor", Target::Nothing, Want::Success),
    row("status", "status", Target::Name(VM1), Want::Denied),
    row("off", "off", Target::Name(VM1), Want::Denied),
    row("reboot by UUID", "reboot", Target::Uuid(VM1), Want::Denied),
];

fn both_guests(
    bench: &Bench<'_>,
    transport: Transport,
    family: Family,
    group: &mut Group,
) -> Result<(), Failure> {
    let mut config = bench.furnish(HostConfig::new(transport, family, bench.port), "host")?;
    config.groups = vec![
        GroupText {
            members: vec![VM1.name.to_owned(), BYSTANDER.uuid.to_owned()],
            sources: vec![Guest::First.address(family).to_string()],
        },
        GroupText {
            members: vec![LONG.name.to_owned()],
            sources: vec![Guest::Second.address(family).to_string()],
        },
    ];
    let host = bench.launch("host").start_ready(config)?;
    let agent = bench.agent_for(&host);
    run_rows(FIRST_GUEST, &agent, host.side, group);
    run_rows(
        SECOND_GUEST,
        &agent.from_guest(Guest::Second),
        host.side,
        group,
    );
    add_log(&host, group);
    Ok(())
}

const FIRST_LIST: &[(Domain, bool)] = &[(VM1, true), (BYSTANDER, true)];
const SECOND_LIST: &[(Domain, bool)] = &[(LONG, true)];

const FIRST_GUEST: &[Row] = &[
    row(
        "list shows the source's domains only (F19)",
        "list",
        Target::Nothing,
        Want::List(FIRST_LIST),
    ),
    row("status of a member", "status", Target::Name(VM1), Want::On),
    row("off of a member", "off", Target::Name(VM1), Want::Success).then(After::Off(VM1)),
    row("on of a member", "on", Target::Name(VM1), Want::Success).then(After::On(VM1)),
    row(
        "listed by UUID, asked by UUID",
        "status",
        Target::Uuid(BYSTANDER),
        Want::On,
    ),
    row(
        "listed by UUID, asked by UUID in upper case",
        "status",
        Target::UpperUuid(BYSTANDER),
        Want::On,
    ),
    row(
        "listed by name, asked by UUID (L23)",
        "status",
        Target::Uuid(VM1),
        Want::On,
    )
    .but_c_host("D5", Want::Denied, After::Unchanged),
    row(
        "listed by UUID, asked by name (L23)",
        "status",
        Target::Name(BYSTANDER),
        Want::On,
    )
    .but_c_host("D5", Want::Denied, After::Unchanged),
    row(
        "status of another's domain is denied (F19)",
        "status",
        Target::Name(LONG),
        Want::Denied,
    ),
    row(
        "status of another's domain by UUID is denied",
        "status",
        Target::Uuid(LONG),
        Want::Denied,
    ),
    row(
        "off of another's domain is denied",
        "off",
        Target::Name(LONG),
        Want::Denied,
    ),
    row(
        "off of another's domain by UUID is denied",
        "off",
        Target::Uuid(LONG),
        Want::Denied,
    ),
    row(
        "on of another's domain is denied",
        "on",
        Target::Name(LONG),
        Want::Denied,
    ),
    row(
        "reboot of another's domain is denied",
        "reboot",
        Target::Name(LONG),
        Want::Denied,
    ),
    row(
        "monitor is not a domain's business",
        "monitor",
        Target::Nothing,
        Want::Success,
    ),
    row(
        "status of an unknown domain",
        "status",
        Target::Unknown,
        Want::Denied,
    ),
    row(
        "off of an unknown domain",
        "off",
        Target::Unknown,
        Want::Denied,
    ),
];

const SECOND_GUEST: &[Row] = &[
    row(
        "list shows the other source's domains only (F19)",
        "list",
        Target::Nothing,
        Want::List(SECOND_LIST),
    ),
    row(
        "the denied domain runs on",
        "status",
        Target::Name(LONG),
        Want::On,
    ),
    row(
        "off of the first guest's domain is denied",
        "off",
        Target::Name(VM1),
        Want::Denied,
    ),
    row("off of its own", "off", Target::Name(LONG), Want::Success).then(After::Off(LONG)),
];
