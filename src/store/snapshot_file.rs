//! The file beside the database from which a node starts while that is away, and the journal of closings beside it.
//!
//! The file is one sealed whole: a line that names its kind and version, then everything else encrypted and
//! authenticated with the operator's key, so that a damaged one, or one of another key, is told from a good one. It is
//! replaced by renaming. What a commit closes is appended to the journal and synced before its call returns; lines that
//! a newer file has in it are dropped from the journal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use rand::Rng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::kept::Kept;
use crate::routing::closings::{Closed, Closing};
use crate::routing::ids::{ChannelId, GroupName, KeyId, ModelName};
use crate::routing::snapshot::Snapshot;

/// What the file begins with; the number goes up with the form of what follows.
const HEAD: &[u8] = b"pointsman snapshot 1\n";
const NONCE: usize = 24;
/// Of a line's SHA-256: enough to tell a torn line.
const CHECK: usize = 8;

/// The key under which secrets are sealed. Never shown.
#[derive(Clone)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    pub fn new(key: [u8; 32]) -> SecretKey {
        SecretKey(key)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.0.into())
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey")
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Damaged {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is no snapshot of this version")]
    Kind,
    #[error("it is damaged, or sealed with another --secret-key")]
    Seal,
    #[error("what it holds cannot be understood")]
    Content,
}

/// The file and its journal; clones share them.
#[derive(Clone, Debug)]
pub struct SnapshotFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    key: SecretKey,
    /// The closings that stand in the journal, so that it can be written anew.
    journal: Mutex<Vec<Closing>>,
}

impl SnapshotFile {
    pub fn new(path: PathBuf, key: SecretKey) -> SnapshotFile {
        SnapshotFile(Arc::new(Inner {
            path,
            key,
            journal: Mutex::default(),
        }))
    }

    pub fn path(&self) -> &Path {
        &self.0.path
    }

    fn journal_path(&self) -> PathBuf {
        let mut path = self.0.path.clone().into_os_string();
        path.push(".closings");
        path.into()
    }

    /// What is kept; `None`: there is no file yet.
    ///
    /// # Errors
    /// It cannot be used. That is no reason not to start.
    pub fn read(&self) -> Result<Option<Kept>, Damaged> {
        let bytes = match fs::read(&self.0.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let sealed = bytes.strip_prefix(HEAD).ok_or(Damaged::Kind)?;
        let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or(Damaged::Seal)?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| Damaged::Seal)?;
        let payload = Payload {
            msg: sealed,
            aad: HEAD,
        };
        let opened = self.0.key.cipher().decrypt(&XNonce::from(nonce), payload);
        let opened = opened.map_err(|_| Damaged::Seal)?;
        ciborium::from_reader(&*opened)
            .map(Some)
            .map_err(|_| Damaged::Content)
    }

    /// Replaces the file, and drops from the journal what `snapshot`, from which it was made, has read.
    ///
    /// # Errors
    /// The old file stands as it was.
    pub fn write(&self, kept: &Kept, snapshot: &Snapshot) -> io::Result<()> {
        let mut plain = Vec::new();
        ciborium::into_writer(kept, &mut plain).map_err(io::Error::other)?;
        let mut nonce = [0; NONCE];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload {
            msg: &plain,
            aad: HEAD,
        };
        let sealed = self.0.key.cipher().encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| io::Error::other("it cannot be sealed"))?;
        replace(&self.0.path, &[HEAD, &nonce, &sealed])?;
        let mut journal = self.0.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.retain(|closing| closing.at >= snapshot.read_at(closing.closed.channel()));
        let lines: String = journal.iter().map(|closing| line(&closing.closed)).collect();
        replace(&self.journal_path(), &[lines.as_bytes()])
    }

    /// Appends what a commit has closed, and syncs it.
    ///
    /// # Errors
    /// It may not be there after a crash.
    pub fn append(&self, closings: &[Closing]) -> io::Result<()> {
        let mut journal = self.0.journal.lock().unwrap_or_else(PoisonError::into_inner);
        // Also what cannot be appended stands in the journal that is written anew.
        journal.extend(closings.iter().cloned());
        let lines: String = closings.iter().map(|closing| line(&closing.closed)).collect();
        let path = self.journal_path();
        let is_new = !path.exists();
        let mut file = private(OpenOptions::new().append(true)).open(&path)?;
        // What stands before may be torn: these begin on a line of their own.
        file.write_all(format!("\n{lines}").as_bytes())?;
        file.sync_data()?;
        match is_new {
            true => sync_folder_of(&path),
            false => Ok(()),
        }
    }

    /// These stand in the journal from an earlier life, and stay until a newer file has them in it.
    pub fn go_on_with(&self, closings: &[Closing]) {
        let mut journal = self.0.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.extend(closings.iter().cloned());
    }

    /// What the journal holds. A torn line is passed over: its call was not told that it is kept.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_journal(&self) -> io::Result<Vec<Closed>> {
        let bytes = match fs::read(self.journal_path()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().filter_map(read_line).collect())
    }
}

/// Writes beside, syncs, renames, syncs the folder: at every moment the old or the new file is whole.
fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut beside = path.to_owned().into_os_string();
    beside.push(".new");
    let mut file = private(OpenOptions::new().write(true).truncate(true)).open(&beside)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder_of(path)
}

/// Else a new name may be gone after a power cut.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.create(true).mode(0o600)
}

/// One closing: a check and its JSON.
fn line(closed: &Closed) -> String {
    let json = match closed {
        Closed::Channel(channel) => json!({"channel": channel.0}),
        Closed::Ability {
            channel,
            group,
            model,
        } => json!({"channel": channel.0, "group": group.as_str(), "model": model.as_str()}),
        Closed::Key { channel, key } => json!({"channel": channel.0, "key": key.0}),
    };
    let json = json.to_string();
    format!("{} {json}\n", check(&json))
}

fn read_line(line: &str) -> Option<Closed> {
    let (told, json) = line.split_once(' ')?;
    if told != check(json) {
        return None;
    }
    let json: Value = serde_json::from_str(json).ok()?;
    let channel = ChannelId(json["channel"].as_i64()?);
    match (
        json["key"].as_i64(),
        json["group"].as_str(),
        json["model"].as_str(),
    ) {
        (Some(key), ..) => Some(Closed::Key {
            channel,
            key: KeyId(key),
        }),
        (None, Some(group), Some(model)) => Some(Closed::Ability {
            channel,
            group: GroupName::new(group),
            model: ModelName::new(model),
        }),
        _ => Some(Closed::Channel(channel)),
    }
}

fn check(json: &str) -> String {
    hex::encode(&Sha256::digest(json.as_bytes())[..CHECK])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::routing::ids::{Generation, Moment};
    use crate::routing::stage;
    use crate::store::key_hash::KeyHash;
    use crate::store::tokens::{TokenId, TokenRow, TokenStatus};

    fn traits(_: &str) -> Option<crate::routing::rows::ProviderTraits> {
        Some(crate::routing::rows::ProviderTraits {
            protocols: [crate::routing::ids::Protocol::OpenAi].into_iter().collect(),
            needs_key: true,
        })
    }

    fn file(folder: &tempfile::TempDir, key: u8) -> SnapshotFile {
        SnapshotFile::new(folder.path().join("snapshot"), SecretKey::new([key; 32]))
    }

    fn token() -> TokenRow {
        TokenRow {
            id: TokenId(7),
            name: "t".to_owned(),
            key_hash: KeyHash::of("sk-client"),
            hint: String::new(),
            status: TokenStatus::Enabled,
            groups: vec!["g".into(), "h".into()],
            models: Some(vec!["m".into()]),
            allow_ips: Some(vec!["10.0.0.0/8".to_owned()]),
            expires_at: Some(5),
            limits: Value::Null,
            created_at: 0,
            last_used_at: None,
        }
    }

    #[test]
    fn what_is_kept_makes_the_same_routes() {
        let mut rows = stage::tiers("10: 1*3 2*1 | 5: 3*0");
        rows[2] = rows[2].clone().serves(&[("g", "m"), ("h", "n")]);
        rows[1].abilities[0].3 = true; // held
        let snapshot = stage::snapshot(&rows, 9);
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder, 1);
        assert!(file.read().unwrap().is_none());
        file.write(&Kept::of(&snapshot, [token()], 12), &snapshot)
            .unwrap();
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let bytes = fs::read(file.path()).unwrap();
        for secret in ["sk-100", "channel 1"] {
            let found = memchr::memmem::find(&bytes, secret.as_bytes());
            assert_eq!(found, None, "{secret} stands in the file");
        }

        let mut kept = file.read().unwrap().expect("a file");
        assert_eq!((kept.kept_at, kept.take_tokens()), (12, vec![token()]));
        let again = kept
            .draft(traits)
            .snapshot(&Snapshot::default(), Generation(1), Moment(1));
        let abilities = |snapshot: &Snapshot| {
            let shown = snapshot.abilities().map(|ability| {
                let (group, model) = (ability.group.clone(), ability.model.clone());
                (group, model, ability.channel, ability.open)
            });
            let mut shown: Vec<_> = shown.collect();
            shown.sort();
            shown
        };
        assert_eq!(abilities(&again), abilities(&snapshot));
        assert_eq!(abilities(&again).len(), 4);
        for channel in snapshot.channels() {
            let same = again.channel(channel.id).expect("the channel");
            assert_eq!((&same.spec, same.status), (&channel.spec, channel.status));
            let keys = |channel: &crate::routing::snapshot::Channel| {
                let key =
                    |key: &crate::routing::snapshot::Key| (key.id, key.status_changed_at, key.spec.clone());
                channel.keys.iter().map(key).collect::<Vec<_>>()
            };
            assert_eq!(keys(same), keys(channel));
        }
    }

    #[test]
    fn a_damaged_file_is_told_from_a_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let good = file(&folder, 1);
        let snapshot = Snapshot::default();
        good.write(&Kept::default(), &snapshot).unwrap();
        let bytes = fs::read(good.path()).unwrap();
        assert!(matches!(file(&folder, 2).read(), Err(Damaged::Seal)));
        for at in [HEAD.len() - 2, HEAD.len() + 3, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            fs::write(good.path(), damaged).unwrap();
            assert!(good.read().is_err(), "{at}");
        }
        for cut in [0, 3, HEAD.len(), HEAD.len() + NONCE, bytes.len() - 1] {
            fs::write(good.path(), &bytes[..cut]).unwrap();
            assert!(good.read().is_err(), "{cut}");
        }
    }

    #[test]
    fn the_journal_holds_what_no_file_has_read() {
        let folder = tempfile::tempdir().unwrap();
        let written = file(&folder, 1);
        let closing = |closed, at| Closing {
            closed,
            at: Moment(at),
        };
        let ability = Closed::Ability {
            channel: ChannelId(2),
            group: "g".into(),
            model: "a \"m\"\n".into(),
        };
        let key = Closed::Key {
            channel: ChannelId(3),
            key: KeyId(4),
        };
        written
            .append(&[closing(Closed::Channel(ChannelId(1)), 5)])
            .unwrap();
        written
            .append(&[closing(ability.clone(), 8), closing(key.clone(), 9)])
            .unwrap();
        let all = [Closed::Channel(ChannelId(1)), ability.clone(), key.clone()];
        assert_eq!(file(&folder, 1).read_journal().unwrap(), all);

        written.write(&Kept::default(), &stage::snapshot(&[], 6)).unwrap();
        assert_eq!(file(&folder, 1).read_journal().unwrap(), [ability.clone(), key]);
        let path = written.journal_path();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 4]).unwrap();
        assert_eq!(
            file(&folder, 1).read_journal().unwrap(),
            std::slice::from_ref(&ability),
            "a torn line is none"
        );
        let later = Closed::Channel(ChannelId(9));
        file(&folder, 1).append(&[closing(later.clone(), 10)]).unwrap();
        assert_eq!(
            file(&folder, 1).read_journal().unwrap(),
            [ability, later],
            "what was torn takes nothing with it that comes after"
        );
    }

    #[test]
    fn a_letter_torn_in_the_middle_takes_nothing_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let written = file(&folder, 1);
        let kept = Closed::Channel(ChannelId(1));
        let closing = |closed| Closing {
            closed,
            at: Moment(1),
        };
        written.append(&[closing(kept.clone())]).unwrap();
        let mut journal = OpenOptions::new()
            .append(true)
            .open(written.journal_path())
            .unwrap();
        journal
            .write_all(
                "\n0123456789abcdef {\"channel\":2,\"group\":\"豆"
                    .as_bytes()
                    .split_last()
                    .unwrap()
                    .1,
            )
            .unwrap();
        assert_eq!(written.read_journal().unwrap(), [kept]);
        let mode = fs::metadata(written.journal_path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
