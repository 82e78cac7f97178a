//! Reads the configuration and starts what was asked for.

use std::process::ExitCode;

use pointsman::config::{Command, Config};
use pointsman::{check, demo, practice, serve};

/// Many small pieces of memory come and go with each request; this one hands them out fastest (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let ended = run(Config::read());
    serve::log_lines::flush();
    ended
}

fn run(config: Config) -> ExitCode {
    match config.command {
        None | Some(Command::Serve) => serve::run(config.settings),
        Some(Command::Demo) => demo::run(config.settings),
        Some(Command::Check) => check::run(&config.settings),
        Some(Command::Practice(args)) => {
            serve::log_lines::start("info");
            match actix_web::rt::System::new().block_on(practice::run(args)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("pointsman practice: {error}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}
