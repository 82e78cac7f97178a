//! The mutation check: real bugs of this field, put in one at a time, each of which the simulation must catch.
//!
//! A mutant is a patch beside this file, and its first line names the rules that it may be caught by: one that is caught
//! for anything else was not understood. `README.md` tells what each is. A copy of `src/routing` and of the simulation
//! is patched, compiled as a small package of its own, and run until the simulation finds something or its time is up.
//! The copy without a patch must pass. All mutants share one folder and one target folder, so that each costs the
//! compilation of the router and the simulation only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

/// A mutant that lives longer has survived.
const SECONDS: &str = "60";
/// The copy without a mutation has to be found innocent for so long.
const SECONDS_UNMUTATED: &str = "5";

/// A shortest history of more choices than this, of the 300 of its seed, tells nobody what has happened.
const SHORT: usize = 30;

/// What is copied, from and to the same place.
const COPIED: [&str; 2] = ["src/routing", "tests/simulation"];

/// What `src/routing` and the simulation need, of the versions in `Cargo.lock`.
const MANIFEST: &str = r#"
[workspace]

[package]
name = "pointsman"
version = "0.0.0"
edition = "2024"

[lib]
test = false

[[test]]
name = "simulation"
path = "tests/simulation/main.rs"

[dependencies]
lru = "0.19"
rand = "0.10"
rustc-hash = "2"
serde = { version = "1", features = ["derive", "rc"] }
serde_json = { version = "1", features = ["preserve_order", "raw_value"] }
thiserror = "2"

[profile.test]
opt-level = 1
debug = false
"#;

#[test]
fn heavy_each_real_bug_is_caught_by_the_simulation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let only = std::env::var("POINTSMAN_MUTANT").ok();
    let mut patches = patches(&root.join("tests/mutants"));
    patches.retain(|(name, _)| only.as_ref().is_none_or(|only| name.contains(only.as_str())));
    assert!(!patches.is_empty(), "no mutant is called {only:?}");

    let copy = Copy::new(root);
    copy.restore();
    let unmutated = copy.run(SECONDS_UNMUTATED);
    assert!(
        caught_by(&unmutated).is_none(),
        "without a mutation:\n{}",
        text(&unmutated)
    );
    println!("{:<46} innocent", "without a mutation");

    let mut wrong = Vec::new();
    for (name, patch) in patches {
        let expected = rules(&patch);
        copy.restore();
        copy.apply(&patch);
        let began = Instant::now();
        let output = copy.run(SECONDS);
        let Some(caught) = caught_by(&output) else {
            println!("{name:<46} survived\n{}", text(&output));
            wrong.push(format!("{name} survived"));
            continue;
        };
        let Caught { seed, words, choices } = &caught;
        println!(
            "{name:<46} {seed}: {words}, in {choices} choices ({:.0} s with its compilation)",
            began.elapsed().as_secs_f64()
        );
        if !expected.iter().any(|rule| rule == caught.rule()) {
            wrong.push(format!("{name} was caught by {words}, and not by {expected:?}"));
        }
        if *choices > SHORT {
            wrong.push(format!(
                "the shortest history of {name} has {choices} choices:\n{}",
                text(&output)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// By name.
fn patches(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).expect("the folder of mutants");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut patches: Vec<(String, PathBuf)> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
        .map(|path| {
            (
                path.file_stem().expect("a name").to_string_lossy().into_owned(),
                path,
            )
        })
        .collect();
    patches.sort();
    patches
}

/// The rules that the mutant may be caught by: its patch's first line.
fn rules(patch: &Path) -> Vec<String> {
    let text = fs::read_to_string(patch).expect("a patch");
    let head = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("Caught by: "));
    let head = head.unwrap_or_else(|| panic!("{} begins with `Caught by: `", patch.display()));
    head.split(", ").map(str::to_owned).collect()
}

/// What the simulation has found.
struct Caught {
    /// With the time to it.
    seed: String,
    /// The rule first.
    words: String,
    /// Of the shortest history.
    choices: usize,
}

impl Caught {
    fn rule(&self) -> &str {
        self.words.split(':').next().unwrap_or_default()
    }
}

/// What the simulation has found, if anything; a mutant that does not compile is no mutant.
fn caught_by(output: &Output) -> Option<Caught> {
    let text = text(output);
    assert!(text.contains("running 1 test"), "it does not compile:\n{text}");
    let mut lines = text.lines().skip_while(|line| !line.starts_with("seed "));
    let (seed, words, history) = (lines.next()?, lines.next()?, lines.next()?);
    let choices = history.split_whitespace().find_map(|word| word.parse().ok());
    Some(Caught {
        seed: seed.to_owned(),
        words: words.to_owned(),
        choices: choices.unwrap_or_else(|| panic!("no shortest history:\n{text}")),
    })
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(err), String::from_utf8_lossy(out))
}

/// The copy that is mutated.
struct Copy {
    root: PathBuf,
    folder: PathBuf,
}

impl Copy {
    fn new(root: &Path) -> Copy {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
        fs::create_dir_all(folder.join("src")).expect("a folder for the copy");
        put(&folder.join("Cargo.toml"), MANIFEST);
        put(&folder.join("src/lib.rs"), "pub mod routing;\n");
        let lock = fs::read_to_string(root.join("Cargo.lock")).expect("the lock file");
        if !folder.join("Cargo.lock").exists() {
            put(&folder.join("Cargo.lock"), &lock);
        }
        Copy {
            root: root.to_owned(),
            folder,
        }
    }

    /// As the sources are: also what an earlier mutant has changed.
    fn restore(&self) {
        for place in COPIED {
            copy_folder(&self.root.join(place), &self.folder.join(place));
        }
    }

    fn apply(&self, patch: &Path) {
        let applied = Command::new("git")
            .args(["apply", "-p1"])
            .arg(patch)
            .current_dir(&self.folder)
            // The copy lies inside the project's own repository, which is none of its business.
            .env(
                "GIT_CEILING_DIRECTORIES",
                self.folder.parent().unwrap_or(&self.folder),
            )
            .output()
            .expect("git");
        assert!(
            applied.status.success(),
            "{} does not fit any more, make it anew:\n{}",
            patch.display(),
            text(&applied)
        );
    }

    fn run(&self, seconds: &str) -> Output {
        Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
            .args([
                "test",
                "--quiet",
                "--offline",
                "--test",
                "simulation",
                "--",
                "--nocapture",
            ])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            .env("POINTSMAN_SIMULATION_SECONDS", seconds)
            .env("POINTSMAN_SIMULATION_FIRST_SEED", "0")
            .env_remove("POINTSMAN_SIMULATION_SEED")
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("cargo")
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &to);
        } else {
            put(&to, &fs::read_to_string(&path).expect("a source file"));
        }
    }
}

/// Leaves a file alone that holds this already, so that it is not compiled again.
fn put(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|known| known == text) {
        return;
    }
    fs::write(path, text).expect("a file of the copy");
}
