//! Request frames: whatever the bytes, they are refused, or mean the same when encoded again.

use fence_proto::frame::{Demand, FRAME_LEN, HASH_OFFSET, Signature};
use fence_proto::{HashAlgorithm, Key};

/// Takes the bytes as a frame; then signs them, so that what is behind the signature is reached.
pub(crate) fn run(data: &[u8]) {
    let key = Key::from_bytes(b"fuzz").expect("a key");
    let unsigned = Demand {
        key: None,
        weakest: HashAlgorithm::None,
    };
    if let Ok(accepted) = unsigned.accept(data) {
        assert_eq!(data.len(), FRAME_LEN);
        assert_eq!(accepted.fingerprint(), None);
        let again = accepted.frame().encode(Signature::Unsigned);
        assert_eq!(unsigned.accept(&again), Ok(accepted.clone()));
        assert_eq!(
            accepted.frame().encode(Signature::Unsigned),
            again,
            "encoding is a function"
        );
    }
    for weakest in HashAlgorithm::ALL {
        accept_signed(&key, weakest, data);
    }
}

fn accept_signed(key: &Key, weakest: HashAlgorithm, data: &[u8]) {
    let demand = Demand {
        key: Some(key),
        weakest,
    };
    // Without the key nobody finds a signature.
    if let Ok(lucky) = demand.accept(data) {
        assert_eq!(weakest, HashAlgorithm::None);
        assert_eq!(lucky.fingerprint(), None);
    }
    let Some(algorithm) = data.get(1).copied().and_then(HashAlgorithm::from_wire) else {
        return;
    };
    let mut frame = [0; FRAME_LEN];
    for (to, from) in frame.iter_mut().take(HASH_OFFSET).zip(data) {
        *to = *from;
    }
    let digest = key.digest(algorithm, &frame);
    frame[HASH_OFFSET..].copy_from_slice(&digest);
    if let Ok(accepted) = demand.accept(&frame) {
        assert!(algorithm >= weakest);
        let again = accepted.frame().encode(Signature::Keyed(key, algorithm));
        let twice = demand.accept(&again).expect("what was encoded is accepted");
        assert_eq!(twice.frame(), accepted.frame());
        let bit = usize::from(data[0]) % (FRAME_LEN * 8);
        frame[bit / 8] ^= 1 << (bit % 8);
        // A changed hash type may make it an unsigned frame, if those are good enough.
        let changed = demand.accept(&frame);
        assert!(
            changed.is_err() || frame[1] == 0,
            "a changed frame is accepted"
        );
    }
}
