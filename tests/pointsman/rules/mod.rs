//! The routing rules, one file each: `r1_one_truth.rs` and so on.

mod r1_one_truth;
mod r2_pick;
mod r3_miss;
mod r5_one_builder;
mod r6_last_good;
mod r10_read_your_writes;
