use proptest::prelude::*;

use super::*;

fn entries(directory: &Path) -> PathBuf {
    directory.join("entries")
}

#[test]
fn state_and_entries_survive_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, found) = Journal::open(directory.path()).unwrap();
    assert_eq!(found, Found::default());
    journal.append(b"one").unwrap();
    journal.append(b"").unwrap();
    drop(journal);
    let (mut journal, found) = Journal::open(directory.path()).unwrap();
    assert_eq!(found.entries, [b"one".to_vec(), Vec::new()]);
    journal.compact(b"state").unwrap();
    journal.append(b"two").unwrap();
    drop(journal);
    let (_, found) = Journal::open(directory.path()).unwrap();
    assert_eq!(found, Found { state: Some(b"state".to_vec()), entries: vec![b"two".to_vec()], damage: vec![] });
}

#[test]
fn a_kill_between_state_and_entries_keeps_both() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(directory.path()).unwrap();
    journal.append(b"one").unwrap();
    disk::seal(&directory.path().join("state"), b"includes one").unwrap();
    drop(journal);
    let (_, found) = Journal::open(directory.path()).unwrap();
    assert_eq!(found.state.as_deref(), Some(&b"includes one"[..]));
    assert_eq!(found.entries, [b"one".to_vec()]);
}

/// A file that takes nothing more, and lets itself be cut: a full disk.
fn full() -> File {
    use std::os::fd::FromRawFd;
    // SAFETY: a new descriptor, that nobody else has.
    unsafe {
        let memory = libc::memfd_create(c"full".as_ptr(), libc::MFD_ALLOW_SEALING);
        assert_eq!(libc::fcntl(memory, libc::F_ADD_SEALS, libc::F_SEAL_GROW), 0);
        File::from_raw_fd(memory)
    }
}

#[test]
fn after_an_entry_that_was_lost_none_is_taken_before_a_new_state() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(directory.path()).unwrap();
    let room = std::mem::replace(&mut journal.entries, full());
    journal.append(b"lost").unwrap_err();
    journal.entries = room;
    assert!(journal.append(b"later").is_err() && journal.wants_compacting());
    journal.compact(b"with both").unwrap();
    journal.append(b"next").unwrap();
    drop(journal);
    let (_, found) = Journal::open(directory.path()).unwrap();
    assert_eq!((found.state, found.entries), (Some(b"with both".to_vec()), vec![b"next".to_vec()]));
}

#[test]
fn many_entries_are_one_sync() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(directory.path()).unwrap();
    assert!(journal.unsynced().unwrap().is_none());
    for _ in 0..10 {
        journal.append(b"one").unwrap();
    }
    journal.unsynced().unwrap().expect("the file").sync_data().unwrap();
    assert!(journal.unsynced().unwrap().is_none());
}

#[test]
fn a_damaged_state_takes_its_entries_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(directory.path()).unwrap();
    journal.compact(b"state").unwrap();
    journal.append(b"one").unwrap();
    drop(journal);
    fs::write(directory.path().join("state"), b"rubbish").unwrap();
    let (mut journal, found) = Journal::open(directory.path()).unwrap();
    assert_eq!((found.state, found.entries.len(), found.damage.len()), (None, 0, 1));
    assert!(directory.path().join("state.bad").exists() && directory.path().join("entries.bad").exists());
    journal.append(b"new").unwrap();
    drop(journal);
    assert_eq!(Journal::open(directory.path()).unwrap().1.entries, [b"new".to_vec()]);
}

proptest! {
    /// Whatever is cut off or flipped in the entries, those before the damage are read, none after it, and the log takes more.
    #[test]
    fn damage_costs_only_what_follows_it(
        written in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..8),
        at in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(directory.path()).unwrap();
        let mut ends = vec![0];
        for entry in &written {
            journal.append(entry).unwrap();
            ends.push(ends.last().unwrap() + HEAD + entry.len());
        }
        drop(journal);
        let path = entries(directory.path());
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1 }
        fs::write(&path, &bytes).unwrap();
        let whole = ends.iter().filter(|end| **end != 0 && **end <= at).count();
        let (mut journal, found) = Journal::open(directory.path()).unwrap();
        prop_assert_eq!(&found.entries[..], &written[..whole]);
        journal.append(b"more").unwrap();
        drop(journal);
        let (_, found) = Journal::open(directory.path()).unwrap();
        prop_assert_eq!(found.entries.len(), whole + 1);
        prop_assert!(found.damage.is_empty());
    }
}
