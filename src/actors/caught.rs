//! What can panic in a handler is caught and answered as a failure: actix drops an actor whose handler
//! panics, with its mailbox, and never restarts it.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The handler panicked; the panic hook has logged where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

/// Runs a handler's decision. The decisions of `routing` leave their state whole at every point where they
/// could panic by a defect, or at worst lose one asker, who is then answered by the failure.
pub fn caught<T>(decide: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(decide)).map_err(|_| Panicked)
}
