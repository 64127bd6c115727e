//! The supervisor where sockets are lost.

use std::net::{SocketAddr, TcpListener, TcpStream};

use fence_proto::Access;
use fence_proto::host::Limits;

use super::*;
use crate::backend;
use crate::clock::Clock;
use crate::config::{
    Authentication, BackendSettings, LibvirtSettings, ListenerSettings, TcpSettings,
};

fn hub() -> Arc<Hub> {
    let clock = Clock::start();
    let uris = vec!["test:///default".to_owned()];
    let settings = BackendSettings::Libvirt(LibvirtSettings { uris });
    let backend = backend::open(&settings, clock).unwrap();
    Hub::new(clock, backend, Limits::default())
}

fn tcp(name: &str, address: SocketAddr) -> config::Listener {
    let none = HashAlgorithm::None;
    config::Listener {
        name: name.to_owned(),
        settings: ListenerSettings::Tcp(TcpSettings {
            authentication: Authentication {
                key: None,
                hash: none,
                auth: none,
            },
            address,
        }),
        access: Access::unrestricted(),
    }
}

fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap()
}

/// A supervisor with a listener whose socket is lost at once.
async fn with_lost(name: &str, address: SocketAddr) -> Supervisor {
    let mut supervisor = Supervisor::new(&hub(), false);
    let settings = tcp(name, address);
    let post = supervisor.post(&settings, None).unwrap();
    let candidate = bind(settings, post).await;
    let Ok(Listener::Tcp(tcp)) = &candidate.bound else {
        panic!("{:?}", candidate.bound);
    };
    tcp.lose();
    supervisor.keep(candidate);
    supervisor
}

#[tokio::test]
async fn listener_that_is_lost_is_made_again_and_the_others_never_stopped() {
    let (lost, other) = (free_address(), free_address());
    let mut supervisor = with_lost("lost", lost).await;
    supervisor.start(&[tcp("other", other)]).await.unwrap();
    let mut board = supervisor.board();
    let down = board.wait_for(|board| !board.all_serve()).await.unwrap();
    let text = down.to_string();
    drop(down);
    assert!(
        text.starts_with("serving other; waiting for lost: the TCP"),
        "{text}"
    );
    TcpStream::connect(other).unwrap();
    board.wait_for(Board::all_serve).await.unwrap();
    TcpStream::connect(lost).unwrap();
}

#[tokio::test]
async fn daemon_gives_up_only_when_no_listener_is_left() {
    let (lost, other) = (free_address(), free_address());
    let mut supervisor = with_lost("lost", lost).await;
    supervisor.give_up = Duration::from_millis(300);
    supervisor.start(&[tcp("other", other)]).await.unwrap();
    let mut board = supervisor.board();
    let _ = board.wait_for(|board| !board.all_serve()).await.unwrap();
    // Somebody else has the port now.
    let taken = TcpListener::bind(lost);
    let patience = Duration::from_secs(1);
    assert!(timeout(patience, supervisor.all_lost()).await.is_err());
    supervisor.stop("other").await;
    if taken.is_ok() {
        let error = supervisor.all_lost().await.to_string();
        assert!(
            error.starts_with("no listener serves: waiting for lost"),
            "{error}"
        );
    }
}
