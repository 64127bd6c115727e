//! Members that run the original.

use fence_proto::Moment;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::peers::Kind;
use crate::reason::Reason;
use crate::seam::MemberId;
use crate::verdict::Standing;
use crate::wire::legacy::Legacy;
use crate::wire::message::Change;

/// What is known of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Original {
    spoken: Option<Moment>,
}

impl Original {
    pub(crate) const fn has_spoken(&self) -> bool {
        self.spoken.is_some()
    }

    /// Every moment in it.
    pub(crate) fn moments(&mut self, mut each: impl FnMut(&mut Moment)) {
        if let Some(spoken) = &mut self.spoken {
            each(spoken);
        }
    }
}

impl Cluster {
    pub(crate) fn delivered_original(
        &mut self,
        cx: &mut Cx<'_>,
        from: MemberId,
        bytes: &[u8],
    ) -> Result<(), Reason> {
        let _ = Legacy::decode(bytes)?;
        let peer = self.peers.get_mut(&from).ok_or(Reason::NotAMember)?;
        if let Kind::Unheard = peer.kind {
            peer.kind = Kind::Original(Original {
                spoken: Some(cx.now),
            });
        }
        Ok(())
    }

    pub(crate) fn tell_originals(&mut self, cx: &mut Cx<'_>, change: &Change) {
        let _ = (cx, change);
    }

    pub(crate) fn tell_originals_all(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }

    pub(crate) fn keep_up_with_originals(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }

    pub(crate) fn original_standing(&self, cx: &Cx<'_>, member: MemberId) -> Standing {
        let _ = (self, cx, member);
        Standing::Silent
    }
}
