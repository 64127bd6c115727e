//! The page that is printed and written.

use crate::machine::Machine;
use crate::report::{Line, table, tally};
use crate::settings::Settings;

/// Everything that is to be said, in Markdown.
pub(crate) fn write(settings: &Settings, machine: &Machine, lines: &[Line]) -> String {
    let (reached, missed, unmeasured) = tally(lines);
    let kind = if settings.quick {
        "Quick run: it shows that the harness works; the figures mean little.\n\n"
    } else {
        ""
    };
    format!(
        "# Benchmarks\n\n\
         Written by `make bench` (`tests/bench.sh`). {kind}\
         Goals reached: {reached}; missed: {missed}; not measured: {unmeasured}.\n\n\
         Machine: {machine} C: {version}.\n\n\
         {table}\n\
         {METHOD}",
        machine = machine.describe(),
        version = settings.c_version(),
        table = table(lines),
    )
}

/// How it is measured; the same for every run.
const METHOD: &str = "\
## How it is measured

- *ours* is `fence_virtd -F -w -d 0 -f FILE` of this repository, built with `--release`; *C* is the packaged `fence_virtd`
  (Debian's `fence-virtd`), with the same configuration: `tcp` listener on 127.0.0.1, hash and auth
  sha256, a key of 4096 bytes, backend `libvirt` on libvirt's test driver with 50 running domains.
- *floor* is a bare server, one thread on epoll, that moves the same bytes: it answers with constants,
  computes no hash, checks nothing and asks nobody. For the agent it is `/bin/true`.
- The servers run all the time and have their turns within each round (ours, C, floor, ours, C, …). A
  percentile is taken of each round; the figure is the median over the rounds.
- A request is timed from before `connect` to the reply byte. Client and server share the machine's
  processors. Requests are made in advance, each with its own seqno, random bytes and challenge, and
  the client checks the response of all but the floor.
- 256 clients, each from an address of its own: the clock stops when the last one has all its answers,
  for that is what a cluster waits for. A client that waits more than 5 s counts as an error and tries
  again. The C daemon serves one connection at a time from a queue of 10. The line below it, without
  end, also counts the work of a server that serves the same few clients again and again.
- 50 domains: one client for each domain, all at once, time until the last has reply 0. A client that
  fails tries again.
- 500 peers stall: each has sent frame and challenge and got its answer, and then says nothing. The C
  daemon is asked three times with 5 s of patience each.
- Multicast: host and two guests in network namespaces on one bridge. One guest asks as the agent does
  (sends again after 2 s, gives up after 30 s) while the other sends frames of good form with bad
  signatures from one thread, as fast as it can. Host, guests and the flood share the processors, so the
  floor there, which drops the forged frames unchecked, shows what is the machine's part.
- Resident memory is `VmRSS`, and `RssAnon` beside it; the last one of a set 2 s after everything else.
  The daemons that list 10,000 domains are others than those of the first rows.
- \"> \" marks a figure that was cut off: the truth is worse.

What bounds the list: of the time of one list, `virConnectListAllDomains` alone takes 12 to 17 ms on a
virtual machine of two cores, reading UUIDs and run numbers another 13 ms of processor time, shared by two threads
(libvirt formats the UUID for its debug log in each of these calls); sorting and encoding take 2 ms.
None of it can be left out: the list is one call, so that no domain is seen twice or missed, and
nothing is remembered from the last one.

The figures depend on what else the machine does: compare columns of one run, not runs.
";
