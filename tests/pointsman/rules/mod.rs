//! The routing rules, one file each: `r1_one_truth.rs` and so on.
