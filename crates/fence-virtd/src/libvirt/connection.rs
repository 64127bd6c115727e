//! One connection to a hypervisor: the few calls that fencing needs, in our terms.
//!
//! Everything here blocks and runs on worker threads only.

use std::cmp::Ordering;
use std::sync::Arc;
use std::thread;

use fence_proto::access::Grant;
use fence_proto::fencing::{Activity, DomainCopy, Trouble};
use fence_proto::host_list::{Entry, STATE_RUNNING};
use fence_proto::{DomainIdentity, DomainRef, Uuid};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{Error, ErrorDomain, ErrorNumber};

/// virDomainState of a domain that is shut off.
const STATE_SHUT_OFF: u8 = 5;

/// Seconds between two keep-alive questions to a silent network peer, and how many may go
/// unanswered.
const KEEP_ALIVE: (i32, u32) = (5, 3);

/// From so many domains on, a list is read by two threads.
const LONG_LIST: usize = 2_000;

/// Where a URI leads, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The driver runs inside this process and keeps its state in the connection, which therefore
    /// is shared.
    InProcess,
    /// A daemon on this machine: the kernel tells when it dies.
    Local,
    /// Over a network, where a peer can vanish in silence.
    Network,
}

impl Reach {
    /// Goes by the form of the URI: `driver+transport://host/path`.
    pub(super) fn of(uri: &str) -> Self {
        let Some((scheme, rest)) = uri.split_once("://") else {
            return Self::Local;
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.split('?').next().unwrap_or(path);
        if scheme.eq_ignore_ascii_case("test") || (path == "embed" && authority.is_empty()) {
            Self::InProcess
        } else if authority.is_empty() {
            Self::Local
        } else {
            Self::Network
        }
    }
}

/// A call that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(super) struct Fault {
    /// What it means for what comes next.
    pub trouble: Trouble,
    /// libvirt has no such domain.
    pub no_domain: bool,
    /// libvirt's message.
    pub message: String,
}

impl Fault {
    pub(super) fn lost(message: impl Into<String>) -> Self {
        Self {
            trouble: Trouble::ConnectionLost,
            no_domain: false,
            message: message.into(),
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.trouble == Trouble::ConnectionLost
    }
}

/// A domain as one look found it. It holds libvirt's handle, which is good for calls on the
/// connection it came from.
#[derive(Debug)]
pub(super) struct Found {
    domain: Domain,
    /// The connection it was found on.
    pub connection: Arc<Connection>,
    /// Who it is and whether it is on.
    pub copy: DomainCopy,
    /// libvirt's number of this run.
    pub instance: Option<u32>,
}

impl Found {
    /// libvirt's handle, for questions.
    pub(super) const fn handle(&self) -> &Domain {
        &self.domain
    }

    /// virDomainState now, and the reason that belongs to it.
    pub(super) fn state(&self) -> Result<(u32, i32), Fault> {
        let state = self.domain.get_state();
        state.map_err(|error| self.connection.fault(&error))
    }
}

/// libvirt's handles behind a list.
#[derive(Debug)]
pub(super) struct Handles(Vec<Domain>);

impl Handles {
    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }
}

/// An open connection. Closed when the last user drops it.
#[derive(Debug)]
pub(super) struct Connection {
    connect: Connect,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // libvirt frees the handle whatever close says.
        let _ = self.connect.close();
    }
}

impl Connection {
    /// Connects, and asks something to see that it works. The empty URI is libvirt's default.
    pub(super) fn open(uri: &str, reach: Reach) -> Result<Arc<Self>, Fault> {
        if uri.contains('\0') {
            return Err(Fault::lost("the URI contains a NUL character"));
        }
        let uri = (!uri.is_empty()).then_some(uri);
        let connect = Connect::open(uri).map_err(|error| Fault::lost(error.message()))?;
        let connection = Arc::new(Self { connect });
        if reach == Reach::Network {
            connection.keep_alive();
        }
        connection.ping()?;
        Ok(connection)
    }

    /// Has libvirt break the connection when the other side is silent, where its event loop runs.
    pub(super) fn keep_alive(&self) {
        // Refused by old servers; then the kernel's time-outs have to do.
        let _ = self.connect.set_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1);
    }

    /// For what is not wrapped here.
    pub(super) const fn raw(&self) -> &Connect {
        &self.connect
    }

    /// Whether the connection looks usable, without asking the other side.
    pub(super) fn is_alive(&self) -> bool {
        self.connect.is_alive().unwrap_or(false)
    }

    /// Asks the hypervisor something that every driver answers from its own knowledge.
    pub(super) fn ping(&self) -> Result<(), Fault> {
        let count = self.connect.num_of_domains();
        count.map(drop).map_err(|error| self.fault(&error))
    }

    /// The domains that a request may mean: by name, and by UUID if the text has the form of one.
    pub(super) fn find(self: &Arc<Self>, text: &DomainRef) -> Result<Vec<Found>, Fault> {
        let mut all = Vec::with_capacity(1);
        if let Some(uuid) = text.as_uuid() {
            all.extend(self.look(uuid)?);
        }
        if text.is_empty() {
            return Ok(all);
        }
        let by_name = Domain::lookup_by_name(&self.connect, text.as_str());
        let by_name = self.describe(by_name)?;
        all.extend(by_name.filter(|found| !all.iter().any(|known| known.copy == found.copy)));
        Ok(all)
    }

    /// The domain with this UUID, asked anew.
    pub(super) fn look(self: &Arc<Self>, uuid: Uuid) -> Result<Option<Found>, Fault> {
        let domain = Domain::lookup_by_uuid_string(&self.connect, &uuid.to_string());
        self.describe(domain)
    }

    /// Destroys the very domain that the grant is for.
    pub(super) fn destroy(&self, grant: &Grant, found: &Found) -> Result<(), Fault> {
        debug_assert_eq!(grant.domain(), &found.copy.identity);
        found.domain.destroy().map_err(|error| self.fault(&error))
    }

    /// Starts a defined domain.
    pub(super) fn create(&self, grant: &Grant, found: &Found) -> Result<(), Fault> {
        debug_assert_eq!(grant.domain(), &found.copy.identity);
        let created = found.domain.create();
        created.map(drop).map_err(|error| self.fault(&error))
    }

    /// Starts a transient domain from what [`Self::definition`] read.
    pub(super) fn create_transient(&self, _grant: &Grant, xml: &str) -> Result<(), Fault> {
        let created = Domain::create_xml(&self.connect, xml, virt_sys::VIR_DOMAIN_NONE);
        created.map(drop).map_err(|error| self.fault(&error))
    }

    /// The XML that brings a transient domain back; `None` for one that stays defined. With
    /// passwords where libvirt lets us have them: without, the domain would come back changed.
    pub(super) fn definition(&self, found: &Found) -> Result<Option<String>, Fault> {
        if found
            .domain
            .is_persistent()
            .map_err(|error| self.fault(&error))?
        {
            return Ok(None);
        }
        let secure = found.domain.get_xml_desc(virt_sys::VIR_DOMAIN_XML_SECURE);
        let xml = secure.or_else(|_| found.domain.get_xml_desc(0));
        xml.map(Some).map_err(|error| self.fault(&error))
    }

    /// All domains, by one call: what it returns tells name, UUID and, by the number of its run,
    /// whether each is on.
    ///
    /// They come in one or two sorted runs. The handles come along because freeing them takes as long as getting them: drop them when
    /// the answer is on its way.
    pub(super) fn list(&self) -> Result<(Vec<Entry>, Handles), Fault> {
        let domains = self.connect.list_all_domains(0);
        let domains = domains.map_err(|error| self.fault(&error))?;
        let entries = if domains.len() < LONG_LIST {
            entries(&domains)
        } else {
            let (front, back) = domains.split_at(domains.len() / 2);
            in_two_threads(thread::Builder::new(), front, back, entries)
        };
        if entries.len() != domains.len() {
            return Err(self.fault(&Error::last_error()));
        }
        Ok((entries, Handles(domains)))
    }

    /// What there is and whether it is on, by one call.
    pub(super) fn inventory(&self) -> Result<Vec<(Uuid, Activity)>, Fault> {
        let domains = self.connect.list_all_domains(0);
        let domains = domains.map_err(|error| self.fault(&error))?;
        let known = domains.iter().map(|domain| {
            let activity = match domain.get_id() {
                Some(_) => Activity::On,
                None => Activity::Off,
            };
            Ok((Uuid(*domain.get_uuid()?.as_bytes()), activity))
        });
        let known: Result<_, Error> = known.collect();
        known.map_err(|error| self.fault(&error))
    }

    /// Handles of all domains, active and defined.
    pub(super) fn all(&self) -> Result<Vec<Domain>, Fault> {
        let domains = self.connect.list_all_domains(0);
        domains.map_err(|error| self.fault(&error))
    }

    /// The domains that are on, and the numbers of their runs.
    pub(super) fn runs(&self) -> Result<Vec<(Uuid, u32)>, Fault> {
        let domains = self
            .connect
            .list_all_domains(virt_sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE);
        let domains = domains.map_err(|error| self.fault(&error))?;
        let run = |domain: &Domain| {
            let uuid = Uuid(
                *domain
                    .get_uuid()
                    .map_err(|error| self.fault(&error))?
                    .as_bytes(),
            );
            Ok(domain.get_id().map(|run| (uuid, run)))
        };
        let runs: Result<Vec<_>, Fault> = domains.iter().map(run).collect();
        Ok(runs?.into_iter().flatten().collect())
    }

    /// The handle of a domain, got anew; `None` if there is no such domain.
    pub(super) fn handle(&self, uuid: Uuid) -> Result<Option<Domain>, Fault> {
        match Domain::lookup_by_uuid_string(&self.connect, &uuid.to_string()) {
            Ok(domain) => Ok(Some(domain)),
            Err(error) if error.code() == ErrorNumber::NoDomain => Ok(None),
            Err(error) => Err(self.fault(&error)),
        }
    }

    fn describe(self: &Arc<Self>, domain: Result<Domain, Error>) -> Result<Option<Found>, Fault> {
        let found = domain.and_then(|domain| {
            let instance = domain.get_id();
            let copy = DomainCopy {
                identity: identity(&domain)?,
                activity: activity(&domain, instance)?,
            };
            Ok(Found {
                domain,
                connection: Arc::clone(self),
                copy,
                instance,
            })
        });
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.code() == ErrorNumber::NoDomain => Ok(None),
            Err(error) => Err(self.fault(&error)),
        }
    }

    pub(super) fn fault(&self, error: &Error) -> Fault {
        let rpc = matches!(error.domain(), ErrorDomain::Rpc | ErrorDomain::Remote);
        let trouble = match error.code() {
            ErrorNumber::NoDomain | ErrorNumber::OperationInvalid => Trouble::NothingToDo,
            _ if !self.is_alive() => Trouble::ConnectionLost,
            ErrorNumber::Rpc | ErrorNumber::InvalidConn | ErrorNumber::NoConnect => {
                Trouble::ConnectionLost
            }
            ErrorNumber::SystemError if rpc => Trouble::ConnectionLost,
            ErrorNumber::AccessDenied
            | ErrorNumber::OperationDenied
            | ErrorNumber::AuthFailed
            | ErrorNumber::AuthUnavailable
            | ErrorNumber::NoSupport
            | ErrorNumber::OperationUnsupported
            | ErrorNumber::ConfigUnsupported => Trouble::Refused,
            _ => Trouble::Other,
        };
        Fault {
            trouble,
            no_domain: error.code() == ErrorNumber::NoDomain,
            message: error.message().trim_end().to_owned(),
        }
    }
}

fn identity(domain: &Domain) -> Result<DomainIdentity, Error> {
    Ok(DomainIdentity {
        name: domain.get_name()?,
        uuid: Uuid(*domain.get_uuid()?.as_bytes()),
    })
}

/// A domain that has a run's number is on. One that has none is asked for its state: off if that
/// is "shut off", or "crashed" without anything left of it; on in every other case.
fn activity(domain: &Domain, instance: Option<u32>) -> Result<Activity, Error> {
    if instance.is_some() {
        return Ok(Activity::On);
    }
    let off = match domain.get_state()?.0 {
        virt_sys::VIR_DOMAIN_SHUTOFF => true,
        virt_sys::VIR_DOMAIN_CRASHED => !domain.is_active()?,
        _ => false,
    };
    Ok(if off { Activity::Off } else { Activity::On })
}

/// The order of a list.
pub(super) fn by_name(one: &Entry, other: &Entry) -> Ordering {
    let names = one.name.cmp(&other.name);
    names.then_with(|| one.uuid.cmp(&other.uuid))
}

/// Reads `back` on a thread like `helper`; on this one, after `front`, where there is no thread to
/// be had.
fn in_two_threads<T: Sync, R: Send>(
    helper: thread::Builder,
    front: &[T],
    back: &[T],
    read: impl Fn(&[T]) -> Vec<R> + Sync,
) -> Vec<R> {
    thread::scope(|scope| {
        let helper = helper.spawn_scoped(scope, || read(back));
        let mut all = read(front);
        all.extend(match helper {
            Ok(helper) => helper.join().unwrap_or_default(),
            Err(_) => read(back),
        });
        all
    })
}

/// A paused domain is on, and so it is listed (row L9): agents print `on` for this state only.
fn entries(domains: &[Domain]) -> Vec<Entry> {
    let entry = |domain: &Domain| {
        let DomainIdentity { name, uuid } = identity(domain).ok()?;
        let state = if domain.get_id().is_some() {
            STATE_RUNNING
        } else {
            STATE_SHUT_OFF
        };
        Some(Entry { name, uuid, state })
    };
    let mut entries: Vec<_> = domains.iter().filter_map(entry).collect();
    entries.sort_unstable_by(by_name);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_list_is_complete_with_and_without_a_second_thread() {
        let read = |items: &[u8]| items.to_vec();
        let all = in_two_threads(thread::Builder::new(), &[1, 2], &[3], read);
        assert_eq!(all, [1, 2, 3]);
        // No machine has room for that stack.
        let impossible = thread::Builder::new().stack_size(1 << 47);
        assert_eq!(in_two_threads(impossible, &[1], &[2, 3], read), [1, 2, 3]);
    }

    #[test]
    fn uris_are_told_apart_by_where_they_lead() {
        for (uri, reach) in [
            ("test:///default", Reach::InProcess),
            ("test:///tmp/a.xml", Reach::InProcess),
            ("qemu:///embed?root=/tmp/x", Reach::InProcess),
            ("qemu:///system", Reach::Local),
            ("test+unix:///default?socket=/tmp/s", Reach::Local),
            ("", Reach::Local),
            ("my-alias", Reach::Local),
            ("qemu+ssh://root@host/system", Reach::Network),
            ("qemu://host/system", Reach::Network),
            ("test+tcp://127.0.0.1:16509/default", Reach::Network),
        ] {
            assert_eq!(Reach::of(uri), reach, "{uri}");
        }
    }
}
