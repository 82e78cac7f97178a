//! Every test that looks at Pointsman from outside, in one binary.
//!
//! The rig, what a test needs to stand on (begin with `stage.rs`), offers more than today's tests use.

#[macro_use]
mod each_database;

#[allow(dead_code)]
mod answer;
mod checked;
#[allow(dead_code)]
mod core;
#[allow(dead_code)]
mod databases;
mod eventually;
#[allow(dead_code)]
mod logs;
#[allow(dead_code)]
mod node;
#[allow(dead_code)]
mod proxy;
#[allow(dead_code)]
mod servers;
#[allow(dead_code)]
mod stage;
#[allow(dead_code)]
mod upstream;

mod actix_behaviour;
mod admin;
mod chaos;
mod house;
mod relay;
mod rig;
mod rules;
mod store;
