//! A proxy before a database server that can fall silent or cut connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    PassOn = 0,
    /// Accepts, and passes nothing on in either direction; connections stay.
    Silent = 1,
    /// Passes a COMMIT on and cuts before its answer comes back.
    CutAfterCommit = 2,
    /// Cuts when a COMMIT comes, and passes it not on.
    CutBeforeCommit = 3,
}

pub struct Proxy {
    mood: Arc<AtomicU8>,
    open: Arc<AtomicUsize>,
    pub url: String,
}

impl Proxy {
    /// Before the server of this URL.
    pub async fn before(url: &str) -> Proxy {
        let mut url = url::Url::parse(url).expect("a url");
        let server = format!(
            "{}:{}",
            url.host_str().expect("a host"),
            url.port().expect("a port")
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at: SocketAddr = listener.local_addr().expect("an address");
        url.set_host(Some("127.0.0.1")).expect("a host");
        url.set_port(Some(at.port())).expect("a port");
        let mood = Arc::new(AtomicU8::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        let (moods, opens) = (mood.clone(), open.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, mood, open) = (server.clone(), moods.clone(), opens.clone());
                tokio::spawn(async move {
                    open.fetch_add(1, Ordering::SeqCst);
                    let _ = serve(client, &server, &mood).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Proxy {
            mood,
            open,
            url: url.to_string(),
        }
    }

    pub fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    /// Connections that the client has not closed.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

async fn serve(client: TcpStream, server: &str, mood: &AtomicU8) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let is = |wanted: Mood| mood.load(Ordering::SeqCst) == wanted as u8;
    let (mut up, mut down) = ([0; 65536], [0; 65536]);
    loop {
        tokio::select! {
            read = from_client.read(&mut up) => {
                let read = read?;
                if read == 0 { return Ok(()); }
                let bytes = &up[..read];
                // Not the COMMIT of READ COMMITTED.
                let has = |word: &[u8]| bytes.windows(word.len()).any(|w| w == word);
                let commits = has(b"COMMIT") && !has(b"COMMITTED");
                if commits && is(Mood::CutBeforeCommit) { return Ok(()); }
                if is(Mood::Silent) { continue; }
                to_server.write_all(bytes).await?;
                if commits && is(Mood::CutAfterCommit) {
                    // Its answer tells that it was done.
                    let _ = from_server.read(&mut down).await?;
                    return Ok(());
                }
            }
            read = from_server.read(&mut down) => {
                let read = read?;
                if read == 0 { return Ok(()); }
                if !is(Mood::Silent) { to_client.write_all(&down[..read]).await?; }
            }
        }
    }
}
