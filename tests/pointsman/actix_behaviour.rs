//! What actix really does, where the actors build on it (`src/actors/`): found by trial, kept by trial.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::eventually::eventually;

struct Counter {
    handled: Arc<AtomicU32>,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "u32")]
struct Count;

impl Handler<Count> for Counter {
    type Result = u32;

    fn handle(&mut self, _: Count, _: &mut Self::Context) -> u32 {
        self.handled.fetch_add(1, Ordering::SeqCst) + 1
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

impl Handler<Panic> for Counter {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("ordered by the test");
    }
}

/// Holds the actor until the sender is dropped.
#[derive(Message)]
#[rtype(result = "()")]
struct Hold(std::sync::mpsc::Receiver<()>);

impl Handler<Hold> for Counter {
    type Result = ();

    fn handle(&mut self, Hold(until): Hold, _: &mut Self::Context) {
        let _ = until.recv();
    }
}

fn counter() -> (Addr<Counter>, Arc<AtomicU32>, ArbiterHandle) {
    let handled = Arc::new(AtomicU32::new(0));
    let arbiter = Arbiter::new().handle();
    let of_actor = Arc::clone(&handled);
    let address = Counter::start_in_arbiter(&arbiter, move |_| Counter { handled: of_actor });
    (address, handled, arbiter)
}

/// The watchdog of `serve` builds on it: an actor that is gone shows in its address, and never comes back.
#[actix::test]
async fn a_handler_that_panics_ends_its_actor_and_nothing_else() {
    let (address, _, arbiter) = counter();
    assert_eq!(address.send(Count).await, Ok(1));
    assert!(address.send(Panic).await.is_err());
    eventually(Duration::from_secs(5), async || {
        if address.connected() {
            Err("connected")
        } else {
            Ok(())
        }
    })
    .await;
    assert_eq!(address.send(Count).await, Err(MailboxError::Closed));
    let (says, said) = oneshot::channel();
    arbiter.spawn(async move { says.send("alive").unwrap_or_default() });
    assert_eq!(said.await, Ok("alive"), "the arbiter lives on");
}

/// Why a `Close` is sent by a task that stays: an asker that goes takes its message along.
#[actix::test]
async fn a_message_whose_asker_has_gone_is_skipped() {
    let (address, handled, _) = counter();
    let (release, held) = std::sync::mpsc::channel();
    address.do_send(Hold(held));
    let asked = address.send(Count);
    drop(asked);
    address.do_send(Count);
    drop(release);
    assert_eq!(
        address.send(Count).await,
        Ok(2),
        "one was skipped, the one that nobody awaits was not"
    );
    assert_eq!(handled.load(Ordering::SeqCst), 2);
}

/// Why picks take a permit: a full mailbox refuses nobody.
#[actix::test]
async fn send_is_never_refused_for_a_full_mailbox() {
    let (address, handled, _) = counter();
    let (release, held) = std::sync::mpsc::channel();
    address.do_send(Hold(held));
    let asked: Vec<_> = (0..10_000).map(|_| address.send(Count)).collect();
    assert!(
        address.clone().try_send(Count).is_ok(),
        "a fresh clone is not refused either"
    );
    drop(release);
    for answer in asked {
        assert!(answer.await.is_ok());
    }
    eventually(Duration::from_secs(5), async || {
        match handled.load(Ordering::SeqCst) {
            10_001 => Ok(()),
            other => Err(other),
        }
    })
    .await;
}
