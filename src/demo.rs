//! `pointsman demo`: a relay on a throw-away database before two practice upstreams, one of them faulty.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use crate::config::Settings;
use crate::practice::Practice;
use crate::routing::ids::{GroupName, ModelName};
use crate::routing::rows::Secret;
use crate::serve::{self, log_lines};
use crate::store::change_status::ChangeError;
use crate::store::channels::{self, NewChannel};
use crate::store::connect::Database;
use crate::store::error::StoreError;
use crate::store::key_hash::KeyHash;
use crate::store::tokens::{self, NewToken, TokenStatus};
use crate::web::new_secret;

/// It has as much weight as the other, so that one request in two shows a failover.
const FAULTS: &str = "status=500";
const OPENAI_MODELS: [&str; 2] = ["gpt-4o-mini", "text-embedding-3-small"];
const CLAUDE: &str = "claude-sonnet-4-5";
const GEMINI: &str = "gemini-2.5-flash";

/// Runs the demo until SIGTERM or SIGINT; nothing of it stays.
pub fn run(mut settings: Settings) -> ExitCode {
    log_lines::start("warn");
    let folder = match tempfile::Builder::new().prefix("pointsman-demo-").tempdir() {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("pointsman demo: no temporary folder: {error}");
            return ExitCode::FAILURE;
        }
    };
    settings.database_url = format!("sqlite:{}", folder.path().join("demo.sqlite").display());
    let admin_token = settings
        .admin_token
        .get_or_insert_with(|| Secret::new(&new_secret("pm-")))
        .clone();
    serve::in_system(async move {
        let listener = serve::listen(settings.listen)?;
        let address = listener.local_addr()?;
        let well = Practice::start(free_port(), 1)?;
        let faulty = Practice::start(free_port(), 1)?;
        let token = new_secret("sk-");
        let furnish = async |database: &Database| {
            furnish(database, &well, &faulty, &token)
                .await
                .map_err(of_change)?;
            let words = introduction(address, &well, &faulty, &token, admin_token.reveal());
            writeln!(std::io::stdout(), "{words}")
                .map_err(|error| StoreError::Internal(format!("cannot print on stdout: {error}")))
        };
        serve::serve(settings, listener, furnish).await
    })
}

fn free_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Two channels a protocol: one that answers, and one before it that fails.
async fn furnish(
    database: &Database,
    well: &Practice,
    faulty: &Practice,
    token: &str,
) -> Result<(), ChangeError> {
    for (provider, models) in [
        ("openai", &OPENAI_MODELS as &[&str]),
        ("anthropic", &[CLAUDE]),
        ("gemini", &[GEMINI]),
    ] {
        for (name, base_url) in [
            // In this order the conversation that is shown belongs to the faulty one.
            (
                format!("{provider}-faulty"),
                format!("{}/~{FAULTS}", faulty.url()),
            ),
            (format!("{provider}-well"), well.url()),
        ] {
            let mut channel = NewChannel::new(&name, provider);
            channel.base_url = Some(base_url);
            channel.keys = vec![Secret::new("sk-practice-demo")];
            channel.groups = vec![GroupName::new("default")];
            channel.models = models.iter().map(|model| ModelName::new(model)).collect();
            let (_, receipt) = channels::create(database, channel).await?;
            // No router runs yet: its first build reads it.
            receipt.consume();
        }
    }
    let token = NewToken {
        name: "demo".to_owned(),
        key_hash: KeyHash::of(token),
        hint: token[token.len() - 4..].to_owned(),
        status: TokenStatus::Enabled,
        groups: vec![GroupName::new("default")],
        models: None,
        allow_ips: None,
        expires_at: None,
        limits: serde_json::Value::Null,
    };
    tokens::create(database, token).await.map(drop)
}

fn of_change(error: ChangeError) -> StoreError {
    match error {
        ChangeError::NotDone(error) | ChangeError::Unknown(error) => error,
        other => StoreError::Internal(other.to_string()),
    }
}

fn introduction(address: SocketAddr, well: &Practice, faulty: &Practice, token: &str, admin: &str) -> String {
    let url = format!("http://{address}");
    format!(
        r#"Pointsman demo
  relay     {url}
  upstreams {} answers
            {} fails every request: the relay goes on to the other
  token     {token}
  admin     {admin}
  All of it is gone when this ends (Ctrl-C).

Ask it something (OpenAI's chat completions). The channel to which this conversation belongs fails, and the other
answers: with -i the header x-pointsman-attempts says 2.

curl {url}/v1/chat/completions \
  -H "Authorization: Bearer {token}" \
  -H "Content-Type: application/json" \
  -d '{{"model": "gpt-4o-mini", "messages": [{{"role": "user", "content": "Hello"}}]}}'

The same as a stream:

curl -N {url}/v1/chat/completions \
  -H "Authorization: Bearer {token}" \
  -H "Content-Type: application/json" \
  -d '{{"model": "gpt-4o-mini", "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'

Anthropic's messages:

curl {url}/v1/messages \
  -H "x-api-key: {token}" \
  -H "anthropic-version: 2023-06-01" \
  -H "Content-Type: application/json" \
  -d '{{"model": "{CLAUDE}", "max_tokens": 100, "messages": [{{"role": "user", "content": "Hello"}}]}}'

Gemini's generateContent:

curl {url}/v1beta/models/{GEMINI}:generateContent \
  -H "x-goog-api-key: {token}" \
  -H "Content-Type: application/json" \
  -d '{{"contents": [{{"role": "user", "parts": [{{"text": "Hello"}}]}}]}}'

What the router holds:

curl {url}/api/routing \
  -H "Authorization: Bearer {admin}"
"#,
        well.url(),
        faulty.url(),
    )
}
