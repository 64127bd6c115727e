//! Files that are replaced, kept, raced for, and cannot be written.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::scratch::Scratch;

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

fn names(scratch: &Scratch) -> Vec<String> {
    let entries = fs::read_dir(scratch.path("")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn file_is_replaced_and_every_old_one_is_kept() {
    let scratch = Scratch::new();
    let path = scratch.path("conf");
    assert_eq!(replace(&read(&path).unwrap(), "one").unwrap(), None);
    assert_eq!(mode(&path), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let copy = replace(&read(&path).unwrap(), "two").unwrap();
    assert_eq!(
        copy,
        Some(path.canonicalize().unwrap().with_file_name("conf.bak"))
    );
    replace(&read(&path).unwrap(), "three").unwrap();
    assert_eq!(names(&scratch), ["conf", "conf.bak", "conf.bak.1"]);
    for (name, text) in [
        ("conf", "three"),
        ("conf.bak", "one"),
        ("conf.bak.1", "two"),
    ] {
        assert_eq!(fs::read_to_string(scratch.path(name)).unwrap(), text);
    }
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&scratch.path("conf.bak")), 0o644);
}

#[test]
fn link_stays_a_link_and_its_target_is_replaced() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("real")).unwrap();
    fs::write(scratch.path("real/conf"), "old").unwrap();
    symlink("real/conf", scratch.path("link")).unwrap();
    replace(&read(&scratch.path("link")).unwrap(), "new").unwrap();
    assert!(
        scratch
            .path("link")
            .symlink_metadata()
            .unwrap()
            .is_symlink()
    );
    assert_eq!(
        fs::read_to_string(scratch.path("real/conf")).unwrap(),
        "new"
    );
    assert_eq!(
        fs::read_to_string(scratch.path("real/conf.bak")).unwrap(),
        "old"
    );
    symlink("nowhere", scratch.path("broken")).unwrap();
    assert!(read(&scratch.path("broken")).is_err());
}

#[test]
fn what_somebody_changed_meanwhile_is_not_overwritten() {
    let scratch = Scratch::new();
    let path = scratch.path("conf");
    fs::write(&path, "old").unwrap();
    let present = read(&path).unwrap();
    fs::write(&path, "theirs").unwrap();
    assert!(matches!(
        replace(&present, "ours"),
        Err(FileError::Changed(_))
    ));
    let absent = read(&scratch.path("new")).unwrap();
    fs::write(scratch.path("new"), "theirs").unwrap();
    assert!(matches!(
        replace(&absent, "ours"),
        Err(FileError::Changed(_))
    ));
    assert_eq!(names(&scratch), ["conf", "new"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
}

#[test]
fn of_wizards_at_the_same_time_one_wins_and_nothing_is_lost() {
    let scratch = Scratch::new();
    let path = scratch.path("conf");
    fs::write(&path, "old").unwrap();
    let present: Vec<_> = (0..8).map(|_| read(&path).unwrap()).collect();
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = present
            .iter()
            .enumerate()
            .map(|(number, present)| {
                scope.spawn(move || replace(present, &format!("new {number}")))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(names(&scratch), ["conf", "conf.bak"]);
    assert_eq!(fs::read_to_string(scratch.path("conf.bak")).unwrap(), "old");
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let scratch = Scratch::new();
    let pipe = scratch.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    for path in [pipe, scratch.path(""), PathBuf::from("/dev/null")] {
        assert!(
            matches!(read(&path), Err(FileError::NotAFile(_))),
            "{}",
            path.display()
        );
    }
    fs::write(scratch.path("long"), vec![b'#'; MAX_BYTES + 1]).unwrap();
    assert!(matches!(
        read(&scratch.path("long")),
        Err(FileError::TooLong(_))
    ));
    let nowhere = read(&scratch.path("none/conf")).unwrap();
    assert!(replace(&nowhere, "x").is_err());
}

#[test]
fn key_has_4096_bytes_for_its_owner_alone_and_its_directory_is_made() {
    let scratch = Scratch::new();
    let path = scratch.path("a/b/key");
    NewKey::make(&path).unwrap().keep();
    assert_eq!(mode(&path), 0o600);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 4096);
    let key = fence_proto::Key::from_bytes(&bytes).unwrap();
    let looks = fence_doctor::key::Looks {
        length: key.len(),
        values: key.distinct_values(),
    };
    assert_eq!(fence_doctor::key::weakness(looks), None);
    assert!(crate::config::key_file::read(&path).is_ok());
}

#[test]
fn key_that_is_not_kept_goes_with_its_directories_and_no_other_is_touched() {
    let scratch = Scratch::new();
    drop(NewKey::make(&scratch.path("a/b/key")).unwrap());
    assert!(names(&scratch).is_empty());
    fs::write(scratch.path("key"), "theirs").unwrap();
    assert!(NewKey::make(&scratch.path("key")).is_err());
    assert_eq!(fs::read_to_string(scratch.path("key")).unwrap(), "theirs");
}
