//! The routing rules, one file each: `r1_one_truth.rs` and so on.

mod first_cases;
mod kill_9;
mod r10_read_your_writes;
mod r11_floods;
mod r12_without_database;
mod r1_one_truth;
mod r2_pick;
mod r3_miss;
mod r4_refusals;
mod r5_one_builder;
mod r6_last_good;
mod r8_picks_never_wait;
mod r9_one_commit;
mod secrets;
mod several_nodes;
mod start_without_database;
mod stress;
