//! Every bound and every pause of the core, with its reason.

use core::time::Duration;

/// The most domains of one host: beyond it an inventory counts as not current.
pub const MAX_DOMAINS: usize = 65_536;

/// The most requests of agents under way at one member.
pub const MAX_CASES: usize = 1_024;

/// The most of them that members which run the original have asked, whose agents' sources are not known.
pub(crate) const MAX_ORIGINALS_CASES: usize = 64;

/// The most requests that wait for the same look at one domain.
pub(crate) const MAX_PURPOSES: usize = 256;

/// A member's clock that is further ahead of this one's, in milliseconds, is wrong: its times are not
/// believed, for else no fencing of the hosts that it mentions could be proven until then.
pub(crate) const CLOCK_AHEAD: u64 = 3_600_000;

/// The most requests that a member keeps turns for, of one requester and of all.
pub(crate) const MAX_TURNS_EACH: usize = 1_024;
pub(crate) const MAX_TURNS: usize = 4_096;

/// The most jobs that are given or wait for their domain.
pub(crate) const MAX_JOBS: usize = 8_192;

/// The most domains remembered as known once and gone.
pub(crate) const MAX_GONE: usize = 4_096;

/// The most departed hosts that are remembered; a greeting mentions no more.
pub(crate) const MAX_MEMORIES: usize = 256;

/// So long after a host was lost what members say that they have running is younger than that: a libvirt that does
/// not answer is noticed in less.
pub(crate) const SURE: Duration = Duration::from_secs(12);

/// So long a member must have been able to claim something before what its host then runs counts as its own: longer than
/// the pause between two questions to corosync whether there is quorum.
pub(crate) const SETTLED: Duration = Duration::from_secs(3);

/// How often every member gives a sign of life.
pub(crate) const DIGEST: Duration = Duration::from_secs(2);

/// A member that was not heard of for so long while others were is standing still: what it has is not
/// known any more.
pub(crate) const SILENT: Duration = Duration::from_secs(3);

/// A member that has not said after so long what it has is not waited for: it counts as a host that
/// nothing new is known of.
pub(crate) const MUTE: Duration = Duration::from_secs(4);

/// A requester that was not heard of for so long does not keep its domain's turn.
pub(crate) const HOLDS_TURN: Duration = Duration::from_secs(6);

/// No request of another member takes longer, whatever it says.
pub(crate) const LONGEST_REQUEST: Duration = Duration::from_secs(60);

/// How long after its last moment a turn ends by itself, whatever its requester does.
pub(crate) const TURN_ENDS: Duration = Duration::from_secs(10);

/// Pause between two requests for the same inventory or memory, and between two tries to close
/// somebody's request.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(2);

/// An inventory is not sent again within this time because somebody missed it.
pub(crate) const SEND_AGAIN: Duration = Duration::from_secs(1);

/// Pause between two questions for one host's proof.
pub(crate) const PROOF_AGAIN: Duration = Duration::from_secs(1);

/// How long before a request must be decided nothing of it is begun any more: what was announced
/// until then begins within the first two thirds of this, or never.
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// How long a request waits for its member to be ready: longer than for a member that is mute.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(5);

/// How long a round waits for a member whose silence would not matter.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// How long a request waits for members to say what they have by some name.
pub(crate) const FIND_WITHIN: Duration = Duration::from_secs(5);

/// Pause before a member that did not answer, or a half migration, is asked again.
pub(crate) const ROUND_AGAIN: Duration = Duration::from_secs(1);

/// A round older than this is made again before a proof that came later is used with it, or when it has ended the
/// only run.
pub(crate) const ROUND_FRESH: Duration = Duration::from_secs(1);

/// Rounds that find something active before a request fails.
pub(crate) const MAX_FRUITFUL: u8 = 4;

/// Rounds that find nothing but a migration's incoming half before a question fails.
pub(crate) const MAX_HALVES: u8 = 3;

/// How long a question that finds a domain off waits for an order that is changing it.
pub(crate) const CHANGE_WAIT: Duration = Duration::from_secs(5);

/// How long the answer to a reboot waits for the start.
pub(crate) const START_WAIT: Duration = Duration::from_secs(5);

/// The answer is given so long before the agent's session demands it.
pub(crate) const MARGIN: Duration = Duration::from_millis(100);

/// More changes at once than this are sent as a whole inventory.
pub(crate) const MANY_CHANGES: usize = 64;

/// A definition that was kept for a request is forgotten after so long, should the request's end
/// never be heard of.
pub(crate) const KEPT: Duration = Duration::from_secs(60);
