//! One connection of the agent: handshake, reply byte, host list.

use super::{Credentials, Failure, Verdict};
use crate::action::Action;
use crate::handshake::{AgentHandshake, Authenticated, Challenge, Purpose, Step};
use crate::host_list::Decoder;
use crate::reason::Reason;
use crate::reply::Reply;

/// What bytes of the peer led to.
#[derive(Debug)]
pub(super) enum Progress {
    /// More bytes are needed.
    Wait,
    /// The reply byte announced a list, whose end is not here yet.
    ListStarted,
    /// The handshake waits for this answer. Sending it makes the host act.
    Answer(Vec<u8>),
    /// The result.
    Verdict(Verdict),
    /// The peer is no host of ours.
    Drop(Reason),
}

/// How far a connection has come. Only a completed handshake leads on to a reply.
#[derive(Debug)]
enum Phase {
    Handshake(AgentHandshake),
    Reply {
        _proof: Authenticated,
        /// There once the reply byte has announced a list.
        list: Option<Decoder>,
    },
}

impl Phase {
    const fn reply(proof: Authenticated) -> Self {
        Self::Reply {
            _proof: proof,
            list: None,
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    phase: Phase,
}

impl Connection {
    /// A new connection and what the agent says first, if anything.
    pub(super) fn new(
        credentials: &Credentials,
        challenge: Challenge,
        purpose: Purpose,
    ) -> (Self, Option<Vec<u8>>) {
        match AgentHandshake::new(credentials.auth, challenge, purpose) {
            Ok(handshake) => {
                let opening = handshake.opening().to_vec();
                let phase = Phase::Handshake(handshake);
                (Self { phase }, Some(opening))
            }
            Err(proof) => {
                let phase = Phase::reply(proof);
                (Self { phase }, None)
            }
        }
    }

    /// Whether the peer has proved that it holds the key, or need not.
    pub(super) const fn host_proved(&self) -> bool {
        match &self.phase {
            Phase::Handshake(handshake) => handshake.host_proved(),
            Phase::Reply { .. } => true,
        }
    }

    /// Whether the host may act: its challenge is answered, or there is none.
    pub(super) const fn host_may_act(&self) -> bool {
        !matches!(self.phase, Phase::Handshake(_))
    }

    /// Whether a list has begun.
    pub(super) const fn is_listing(&self) -> bool {
        matches!(self.phase, Phase::Reply { list: Some(_), .. })
    }

    /// Takes bytes of the peer.
    pub(super) fn push(
        &mut self,
        credentials: &Credentials,
        action: Action,
        bytes: &[u8],
    ) -> Progress {
        match &mut self.phase {
            Phase::Handshake(_) => self.push_handshake(credentials, bytes),
            Phase::Reply {
                list: Some(decoder),
                ..
            } => push_list(decoder, bytes),
            Phase::Reply { list, .. } => push_reply(list, action, bytes),
        }
    }

    fn push_handshake(&mut self, credentials: &Credentials, bytes: &[u8]) -> Progress {
        let (Phase::Handshake(handshake), Some(key)) = (&mut self.phase, &credentials.key) else {
            return Progress::Drop(Reason::UnexpectedBytes);
        };
        let (step, used) = handshake.push(key, bytes);
        match step {
            // A host that replies before its challenge is answered has not asked who we are.
            Step::Done(..) if used < bytes.len() => Progress::Drop(Reason::UnexpectedBytes),
            Step::Done(answer, proof) => {
                self.phase = Phase::reply(proof);
                Progress::Answer(answer)
            }
            Step::Drop(reason) => Progress::Drop(reason),
            // The agent's half sends nothing in between.
            Step::Wait | Step::Send(_) => Progress::Wait,
        }
    }
}

fn push_reply(list: &mut Option<Decoder>, action: Action, bytes: &[u8]) -> Progress {
    let Some((first, rest)) = bytes.split_first() else {
        return Progress::Wait;
    };
    let lists = action == Action::List;
    match Reply::from_wire(*first) {
        Reply::HostListFollows if lists => match push_list(list.insert(Decoder::default()), rest) {
            Progress::Wait => Progress::ListStarted,
            other => other,
        },
        Reply::HostListFollows => failed(Failure::ListUnexpected),
        Reply::Success if lists => failed(Failure::ListMissing),
        reply => Progress::Verdict(Verdict::Replied(reply)),
    }
}

fn push_list(decoder: &mut Decoder, bytes: &[u8]) -> Progress {
    match decoder.push(bytes) {
        Err(_) => failed(Failure::ListTooLong),
        Ok(false) => Progress::Wait,
        Ok(true) => {
            let entries = core::mem::take(decoder).finish();
            entries.map_or_else(
                || failed(Failure::ListCut),
                |entries| Progress::Verdict(Verdict::Listed(entries)),
            )
        }
    }
}

const fn failed(failure: Failure) -> Progress {
    Progress::Verdict(Verdict::Failed(failure))
}
