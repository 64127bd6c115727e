//! SIGHUP: the configuration is read anew while requests are under way; a bad one is refused as a whole.

use std::fs::{self, OpenOptions};
use std::thread;
use std::time::Duration;

use fence_lab::config::{GroupText, HostConfig, Transport};
use fence_lab::domains::{BYSTANDER, VM1};
use fence_lab::proxy::procedure;
use fence_lab::wait::{self, PATIENCE};
use fence_lab::{Failure, Host, Side, Verdict, ensure, forge};
use fence_proto::{Family, HashAlgorithm};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::Case;
use crate::held::{DOMAIN, Scene};
use crate::stage::{PORT, Stage, ends_well};

/// What the log says when it is done.
const DONE: &str = "the configuration was read anew";

/// What it says when it came to nothing.
const REFUSED: &str = "the configuration was not read anew, the old one stays";

pub(crate) const CASES: &[Case] = &[
    (
        "SIGHUP while an order is executed: it ends under the old rules, others begin under the new",
        during_order,
    ),
    (
        "SIGHUP with a bad file leaves everything as it was",
        bad_file,
    ),
    (
        "SIGHUP with a key that is gone leaves everything as it was",
        no_key,
    ),
    (
        "SIGHUP with a port that is taken leaves everything as it was",
        taken,
    ),
    ("SIGHUP adds a listener and takes one away", listeners),
    ("SIGHUP takes a right away over multicast", right),
    ("SIGHUP says what takes a restart", fixed),
    ("SIGHUP again and again during a crowd of requests", crowd),
    (
        "SIGHUP again and again while reading the file hangs costs one thread",
        hanging_file,
    ),
];

/// Writes a new configuration and has it read; waits for `word` in the log once more than before.
fn renew(stage: &Stage, host: &Host, text: &str, word: &str) -> Verdict {
    fs::write(stage.directory.join("host.conf"), text)?;
    let count = || host.process.stderr().matches(word).count();
    let before = count();
    host.process.signal(Signal::SIGHUP)?;
    wait::until(&format!("'{word}' in the log"), PATIENCE, || {
        count() > before
    })
}

fn nobody() -> Vec<GroupText> {
    vec![GroupText {
        members: vec![VM1.name.to_owned()],
        sources: vec!["192.0.2.1".to_owned()],
    }]
}

fn works(stage: &Stage, config: &HostConfig) -> Verdict {
    stage.agent(config).expect_state(BYSTANDER.name, true)
}

/// One file for the listener of the case and a second one.
fn with_second(config: &HostConfig, name: &str, port: u16) -> Result<String, Failure> {
    let text = config.text(Side::Ours)?;
    let second = format!(
        "listeners {{ tcp = \"{name}\" {{ key_file = \"{}\"; address = \"{}\"; port = \"{port}\"; }}",
        config.key_file.display(),
        config.address(),
    );
    Ok(text.replacen("listeners {", &second, 1))
}

fn during_order(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage)?;
    let running = scene.held("off", procedure::DESTROY)?;

    let mut new = scene.host.config.clone();
    new.key_file = forge::write_key(&stage.directory.join("new-key"))?;
    new.groups = nobody();
    renew(stage, &scene.host, &new.text(Side::Ours)?, DONE)?;
    scene.proxy.release();
    let answer = running.finish(Duration::from_secs(20))?;
    ensure!(
        answer.code == 0,
        "the request was dropped: {}",
        answer.describe()
    );
    scene.is_off(DOMAIN)?;

    let old = scene.agent.act("status", DOMAIN)?;
    ensure!(old.code == 1, "the old key still opens: {}", old.describe());
    let denied = stage.agent(&new).act("off", DOMAIN)?;
    ensure!(
        denied.code == 3,
        "the new groups do not hold: {}",
        denied.describe()
    );
    ends_well(&mut scene.host)
}

fn bad_file(stage: &Stage) -> Verdict {
    let config = stage.config(Transport::Tcp, Family::Ipv4)?;
    let mut host = stage.launch("host").start_ready(config.clone())?;
    let good = config.text(Side::Ours)?;
    for bad in [
        String::new(),
        good.replacen(';', "", 1),
        // What comes before the fault must not be taken either.
        with_second(&config, "second", 1230)?.replacen("sha256", "sha255", 1),
        good.replacen("\"tcp\"", "\"tpc\"", 1),
    ] {
        renew(stage, &host, &bad, REFUSED)?;
        works(stage, &config)?;
    }
    let said = host.process.stderr();
    ensure!(said.contains("host.conf:"), "the place is not named");
    ensure!(
        !said.contains("listener=\"second\""),
        "a part of a bad file was taken"
    );
    renew(stage, &host, &good, DONE)?;
    works(stage, &config)?;
    ends_well(&mut host)
}

fn no_key(stage: &Stage) -> Verdict {
    let config = stage.config(Transport::Multicast, Family::Ipv4)?;
    let mut host = stage.launch("host").start_ready(config.clone())?;
    let mut new = config.clone();
    new.key_file = stage.directory.join("no-such-key");
    renew(stage, &host, &new.text(Side::Ours)?, REFUSED)?;
    ensure!(
        host.process.stderr().contains("no-such-key"),
        "the key is not named"
    );
    works(stage, &config)?;
    ends_well(&mut host)
}

fn taken(stage: &Stage) -> Verdict {
    let config = stage.config(Transport::Tcp, Family::Ipv4)?;
    let mut host = stage.launch("host").start_ready(config.clone())?;
    let mut other = config.clone();
    other.port = PORT + 1;
    let mut other = stage.launch("host2").start_ready(other)?;
    let text = with_second(&config, "second", PORT + 1)?;
    renew(stage, &host, &text, REFUSED)?;
    ensure!(
        host.process
            .stderr()
            .contains("listener second: cannot listen on TCP"),
        "it does not say which"
    );
    works(stage, &config)?;
    ends_well(&mut other)?;
    renew(stage, &host, &text, DONE)?;
    ends_well(&mut host)
}

fn listeners(stage: &Stage) -> Verdict {
    let config = stage.config(Transport::Tcp, Family::Ipv4)?;
    let mut host = stage.launch("host").start_ready(config.clone())?;
    renew(
        stage,
        &host,
        &with_second(&config, "second", PORT + 1)?,
        DONE,
    )?;
    let mut second = config.clone();
    second.port = PORT + 1;
    works(stage, &config)?;
    works(stage, &second)?;
    renew(stage, &host, &second.text(Side::Ours)?, DONE)?;
    works(stage, &second)?;
    let gone = stage.agent(&config).act("status", BYSTANDER.name)?;
    ensure!(
        gone.code == 1,
        "the listener is still there: {}",
        gone.describe()
    );
    ends_well(&mut host)
}

fn right(stage: &Stage) -> Verdict {
    let config = stage.config(Transport::Multicast, Family::Ipv4)?;
    let mut host = stage.launch("host").start_ready(config.clone())?;
    let agent = stage.agent(&config);
    ensure!(agent.act("off", VM1.name)?.code == 0, "off fails before");
    let mut new = config.clone();
    new.groups = nobody();
    renew(stage, &host, &new.text(Side::Ours)?, DONE)?;
    let denied = agent.act("on", VM1.name)?;
    ensure!(
        denied.code == 3,
        "the right is still there: {}",
        denied.describe()
    );
    renew(stage, &host, &config.text(Side::Ours)?, DONE)?;
    ensure!(
        agent.act("on", VM1.name)?.code == 0,
        "the right is not back"
    );
    ends_well(&mut host)
}

fn fixed(stage: &Stage) -> Verdict {
    let config = stage.config(Transport::Tcp, Family::Ipv4)?;
    let mut host = stage.launch("host").start_ready(config.clone())?;
    let mut new = config.clone();
    new.uris = vec!["test:///default".to_owned()];
    new.auth = HashAlgorithm::Sha512;
    renew(stage, &host, &new.text(Side::Ours)?, DONE)?;
    let said = host.process.stderr();
    ensure!(
        said.contains("'uri' has changed, which takes a restart"),
        "it does not say so"
    );
    // The rest of the file is in force, and the domains are those of before.
    works(stage, &new)?;
    // And it says so as long as it is so.
    renew(stage, &host, &new.text(Side::Ours)?, "'uri' has changed")?;
    ends_well(&mut host)
}

fn crowd(stage: &Stage) -> Verdict {
    let config = stage.config(Transport::Tcp, Family::Ipv4)?;
    let mut host = stage.launch("host").start_ready(config.clone())?;
    let agent = stage.agent(&config);
    let mut running = Vec::new();
    for number in 0..12_u16 {
        running.push(agent.spawn(&["-o", "status", "-n", BYSTANDER.name])?);
        fs::write(
            stage.directory.join("host.conf"),
            with_second(&config, "second", PORT + 1 + number % 2)?,
        )?;
        host.process.signal(Signal::SIGHUP)?;
        thread::sleep(Duration::from_millis(30));
    }
    for agent in running {
        let answer = agent.finish(Duration::from_secs(30))?;
        ensure!(answer.code == 0, "{}", answer.describe());
    }
    ends_well(&mut host)
}

/// A named pipe that nobody writes to, in the place of a file on a server that does not answer.
fn hanging_file(stage: &Stage) -> Verdict {
    let config = stage.config(Transport::Tcp, Family::Ipv4)?;
    let mut host = stage.launch("host").start_ready(config.clone())?;
    let (file, pipe) = (
        stage.directory.join("host.conf"),
        stage.directory.join("pipe"),
    );
    let mut new = config.clone();
    new.port = PORT + 1;
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR)?;
    fs::rename(&pipe, &file)?;
    let count = |word: &str| host.process.stderr().matches(word).count();
    let mut readers = Vec::new();
    for number in 0..4 {
        host.process.signal(Signal::SIGHUP)?;
        // It is read for ten seconds, the first time.
        wait::until("a refusal", Duration::from_secs(15), || count(REFUSED) > 0)?;
        thread::sleep(Duration::from_millis(300));
        readers.push(opening(&host)?);
        ensure!(count(REFUSED) <= number.min(1) + 1, "it is said again");
    }
    ensure!(readers == [1; 4], "threads that read the file: {readers:?}");
    works(stage, &config)?;
    fs::rename(&file, &pipe)?;
    fs::write(&file, new.text(Side::Ours)?)?;
    drop(OpenOptions::new().write(true).open(&pipe)?);
    wait::until("the file to be read", PATIENCE, || count(DONE) > 0)?;
    works(stage, &new)?;
    ensure!(count(DONE) == 1, "it was read more than once");
    ends_well(&mut host)
}

/// Threads of the daemon that wait until a named pipe has somebody at its other end.
fn opening(host: &Host) -> Result<usize, Failure> {
    let tasks = fs::read_dir(format!("/proc/{}/task", host.process.pid()))?;
    let waiting = tasks.flatten().filter(|task| {
        fs::read_to_string(task.path().join("wchan"))
            .is_ok_and(|it| it.contains("wait_for_partner"))
    });
    Ok(waiting.count())
}
