//! `pointsman check`: whether everything holds in the database that always should.

use std::io::Write as _;
use std::process::ExitCode;

use crate::config::Settings;
use crate::store::invariants::{self, NotAsked, Rows};

/// Some row is as it should never be.
const VIOLATED: u8 = 1;
/// The database could not be asked, so nothing is known of it.
const NOT_ASKED: u8 = 2;

/// Prints a line for each violation, and a last one that says how much was looked at.
pub fn run(settings: &Settings) -> ExitCode {
    let mut violations: u64 = 0;
    let asked = ask(&settings.database_url, &mut violations);
    let rows = match asked {
        Ok(rows) => rows,
        Err(error) => {
            eprintln!("pointsman check: {error}");
            return ExitCode::from(NOT_ASKED);
        }
    };
    let looked_at = format!(
        "{} channels, {} keys, {} abilities, {} tokens",
        rows.channels, rows.keys, rows.abilities, rows.tokens
    );
    match violations {
        0 => {
            print(&format!("every invariant holds: {looked_at}"));
            ExitCode::SUCCESS
        }
        _ => {
            print(&format!("{violations} violations: {looked_at}"));
            ExitCode::from(VIOLATED)
        }
    }
}

fn ask(url: &str, violations: &mut u64) -> Result<Rows, NotAsked> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| NotAsked::Here(error.to_string()))?;
    runtime.block_on(invariants::violations(url, |violation| {
        *violations += 1;
        print(&violation.to_string());
    }))
}

/// Who reads no further (`| head`) still gets the exit code.
fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
